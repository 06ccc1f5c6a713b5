//! The built-in model: emoji of 32 × 32 pixels, with the built-in tokenizer.

use std::path::Path;

use var_tokenizer::builtin;
use var_tokenizer::files::sha256;
use var_tokenizer::hub::local_path;
use var_tokenizer::images::{EMOJI, Source};
use var_tokenizer::weights::{Checkpoint, shards};

use crate::error::Result;

/// Weights and configuration; recipe and scores are in `assets/emoji-model.md`.
static EMOJI_MODEL: &[u8] = include_bytes!("../assets/emoji-model.safetensors");

/// The word that stands for the built-in model where a model file is asked for.
pub const NAME: &str = builtin::NAME;

/// Whether `path` is the word for the built-in model.
pub(crate) fn is_named(path: &Path) -> bool {
    path.as_os_str() == NAME
}

/// Opens `path`: the word `builtin`, a published name, or a file of any layout.
///
/// # Errors
/// When the file is missing or damaged, or cannot be fetched.
pub(crate) fn checkpoint(path: &Path) -> Result<Checkpoint> {
    Ok(if is_named(path) {
        Checkpoint::in_memory(EMOJI_MODEL, path)?
    } else {
        builtin::open_file(&local_path(path)?)?
    })
}

/// SHA-256 of the weights at `path`, in hexadecimal.
///
/// # Errors
/// When the file cannot be read.
pub(crate) fn digest(path: &Path) -> Result<String> {
    Ok(if is_named(path) { sha256(EMOJI_MODEL) } else { shards::digest(&local_path(path)?)? })
}

/// Size of the weights at `path` in bytes.
///
/// # Errors
/// When the index of several files is damaged.
pub(crate) fn size(path: &Path) -> Result<u64> {
    if is_named(path) {
        return Ok(EMOJI_MODEL.len() as u64);
    }
    Ok(shards::files(&local_path(path)?)?
        .iter()
        .filter_map(|file| Some(std::fs::metadata(file).ok()?.len()))
        .sum())
}

/// Names of the classes of the built-in model.
///
/// # Errors
/// Never in practice: the images are part of the program.
pub(crate) fn class_names() -> Result<Vec<String>> {
    Ok(Source::open(EMOJI)?.classes().to_vec())
}
