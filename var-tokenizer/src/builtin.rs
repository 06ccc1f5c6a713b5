//! The built-in tokenizer, for the built-in images.

use std::path::Path;

use tch::Device;

use crate::data::schedule::ScaleSchedule;
use crate::hub;
use crate::runtime::error::{Error, Result};
use crate::runtime::files::sha256;
use crate::runtime::weights::{Checkpoint, Role, StateDict, shards};
use crate::vqvae::{PERCEPTUAL_KEY, TokenizerConfig, VqVae};

/// Weights and configuration; recipe and scores are in `assets/emoji-tokenizer.md`.
static EMOJI: &[u8] = include_bytes!("../assets/emoji-tokenizer.safetensors");

/// The word that stands for the built-in tokenizer where a file is asked for.
pub const NAME: &str = "builtin";

/// A tokenizer and the SHA-256 of its file.
#[derive(Debug)]
pub struct Opened {
    /// The tokenizer.
    pub tokenizer: VqVae,
    /// SHA-256 of its file in hexadecimal, which token files carry.
    pub sha256: String,
    /// The network of the perceptual loss that it was trained with, if the file names one.
    pub perceptual_network: Option<String>,
    /// How its tensors were found, for the person.
    pub notes: Vec<String>,
}

/// The file's bytes of `name`: the word `builtin`, a published name, or a path.
///
/// # Errors
/// When the file cannot be read or fetched.
pub fn bytes(name: &str) -> Result<Vec<u8>> {
    if name == NAME {
        return Ok(EMOJI.to_vec());
    }
    let name = hub::local(name)?;
    let path = Path::new(&name);
    match shards::files(path)?.as_slice() {
        [only] => std::fs::read(only).map_err(|e| Error::io(only, e)),
        several => Err(Error::file(
            path,
            format!("is in {} files; write it to one with `var-model convert`", several.len()),
        )),
    }
}

/// The weights of `name` (the word `builtin`, a published name, or a path) and its configuration; `schedule` is that of the
/// transformer that it goes with, for files that do not say theirs.
///
/// # Errors
/// When the file is missing, cannot be fetched, is damaged, or holds no tokenizer.
pub fn weights(name: &str, schedule: Option<&ScaleSchedule>) -> Result<(StateDict, TokenizerConfig)> {
    if name == NAME {
        let dict = Checkpoint::in_memory(EMOJI, Path::new(name))?.take(Role::Tokenizer)?;
        let config = TokenizerConfig::of(&dict, None)?;
        return Ok((dict, config));
    }
    let mut checkpoint = open_file(Path::new(&hub::local(name)?))?;
    let schedule = schedule.cloned().or_else(|| ScaleSchedule::stated_in(&checkpoint));
    let dict = checkpoint.take(Role::Tokenizer)?;
    let config = TokenizerConfig::of(&dict, schedule.as_ref())?;
    Ok((dict, config))
}

/// Opens the weight file at `path`. If there is none, the message says which published name was perhaps meant.
///
/// # Errors
/// When the file is missing or damaged.
pub fn open_file(path: &Path) -> Result<Checkpoint> {
    Checkpoint::open(path).map_err(|e| match (&e, hub::hint(path)) {
        (Error::Io { source, .. }, hint)
            if source.kind() == std::io::ErrorKind::NotFound && !hint.is_empty() =>
        {
            Error::file(path, format!("no such file or folder{hint}"))
        }
        _ => e,
    })
}

/// SHA-256 of the weights of `name`, in hexadecimal.
///
/// # Errors
/// When the file cannot be read or fetched.
pub fn digest(name: &str) -> Result<String> {
    if name == NAME { Ok(sha256(EMOJI)) } else { shards::digest(Path::new(&hub::local(name)?)) }
}

/// Opens the tokenizer `name`: the word `builtin`, a published name, or the path of a file of any layout. A `schedule` wins
/// over what the file says: the released tokenizer serves several.
///
/// # Errors
/// When the file is missing, damaged, or of another kind.
pub fn open(name: &str, schedule: Option<&ScaleSchedule>, device: Device) -> Result<Opened> {
    let (dict, mut config) = weights(name, schedule)?;
    if let Some(schedule) = schedule {
        config.schedule = schedule.clone();
    }
    let tokenizer = VqVae::of(&dict, &config, device)?;
    let perceptual_network = dict.metadata.get(PERCEPTUAL_KEY).cloned();
    Ok(Opened { tokenizer, sha256: digest(name)?, perceptual_network, notes: dict.notes })
}
