//! Describes a file or folder by its content: a tokenizer, a token file, or a source of images.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::data::images::{Source, Split, check_plain};
use crate::data::tokens::{TokenFile, partial_path};
use crate::encode::{HELD_OUT, SPLIT_SEED};
use crate::runtime::error::{Error, Result};
use crate::{builtin, cost, h5, hub};

/// Endings of weight files. They only choose the message about a file that cannot be read.
const WEIGHTS: [&str; 4] = ["safetensors", "pth", "pt", "ckpt"];

/// Describes `what`: a path, a published name, `builtin` or `emoji`. Returns the lines to print.
///
/// # Errors
/// When `what` is missing, damaged or of an unknown kind.
pub fn describe(what: &str) -> Result<Vec<String>> {
    let what = &hub::local(what)?;
    let path = Path::new(what);
    if what == builtin::NAME {
        return tokenizer(what);
    }
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        // The message about the journal says more than that the file is missing.
        Err(_) if partial_path(path).exists() => return tokens(path),
        Err(_) => return images(what),
    };
    if metadata.is_dir() {
        return images(what);
    }
    check_plain(path, &metadata)?;
    let mut head = Vec::new();
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(512).read_to_end(&mut head).map_err(|e| Error::io(path, e))?;
    if h5::is_hdf5(path)? || head.starts_with(b"VARTOK1\n") {
        return tokens(path);
    }
    if is_weights(path, &head, metadata.len()) {
        return tokenizer(what);
    }
    images(what).map_err(|e| {
        let named = path.extension().is_some_and(|ending| WEIGHTS.iter().any(|weights| ending == *weights));
        if named { tokenizer(what).err().unwrap_or(e) } else { e }
    })
}

/// Whether a file of `length` bytes that starts with `head` is a safetensors or PyTorch file.
fn is_weights(path: &Path, head: &[u8], length: u64) -> bool {
    if let Some((number, rest)) = head.split_first_chunk::<8>() {
        let header = u64::from_le_bytes(*number);
        if rest.first() == Some(&b'{') && header < length {
            return true;
        }
    }
    // The magic number of older PyTorch files.
    if head.first() == Some(&0x80) && head.get(2..4) == Some(&[0x8a, 0x0a]) {
        return true;
    }
    head.starts_with(b"PK") && crate::data::images::is_torch_zip(path)
}

fn tokenizer(what: &str) -> Result<Vec<String>> {
    let (dict, config) = builtin::weights(what, None)?;
    let mut lines = vec![
        format!("tokenizer   {what}"),
        format!("SHA-256     {}", builtin::digest(what)?),
        format!("parameters  {}", cost::parameters(&config)),
        format!("images      {0}×{0}, f{1}", config.image_side(), config.downsampling()),
        format!("schedule    {} ({} tokens)", config.schedule, config.schedule.tokens()),
        format!("codebook    {} codes of {} channels", config.vocabulary, config.latent_channels),
    ];
    lines.extend(dict.tensors.iter().map(|(name, tensor)| format!("  {name:<50} {:?}", tensor.shape())));
    Ok(lines)
}

fn tokens(path: &Path) -> Result<Vec<String>> {
    let file = TokenFile::open_part(path)?;
    let info = file.info();
    let mut lines = vec![
        format!("tokens      {}", path.display()),
        format!("tokenizer   {}", info.tokenizer_sha256),
        format!("rows        {} training, {} held out", file.rows(Split::Train), file.rows(Split::Val)),
        format!("schedule    {} ({} tokens)", info.schedule, info.length()),
        format!("codebook    {} codes of {} channels", info.vocabulary, info.latent_channels),
        format!("images      {0}×{0} from {1}; {2}", info.image_side, info.source, info.crop_policy),
        format!("classes     {}: {}", info.classes(), info.class_names.join(", ")),
    ];
    lines.extend(info.shard.map(|shard| format!("part        {shard}; var-tokenizer join joins all parts")));
    Ok(lines)
}

fn images(what: &str) -> Result<Vec<String>> {
    let source = Source::open(what)?;
    let parts = source.partition(HELD_OUT, SPLIT_SEED)?;
    let counts = format!("{} ({} training, {} held out)", source.len(), parts.train.len(), parts.val.len());
    let mut lines = vec![format!("images      {counts}"), format!("classes     {}", source.classes().len())];
    let mut of_class = vec![0_usize; source.classes().len()];
    for entry in source.entries() {
        if let Some(count) = of_class.get_mut(entry.class as usize) {
            *count += 1;
        }
    }
    lines.extend(source.classes().iter().zip(of_class).map(|(name, count)| format!("  {name:<30} {count}")));
    lines.extend(source.notes().iter().map(|note| format!("note        {note}")));
    Ok(lines)
}
