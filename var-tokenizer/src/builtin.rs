//! The tokenizer of the built-in pictures, which comes with the program.

use std::path::Path;

use tch::Device;

use crate::error::{Error, Result};
use crate::files::sha256;
use crate::vqvae::VqVae;

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
}

/// The file's bytes of `name`: the word `builtin`, or a path.
///
/// # Errors
/// When the file cannot be read.
pub fn bytes(name: &str) -> Result<Vec<u8>> {
    if name == NAME {
        return Ok(EMOJI.to_vec());
    }
    let path = Path::new(name);
    std::fs::read(path).map_err(|e| Error::io(path, e))
}

/// Opens the tokenizer `name`: the word `builtin`, or the path of a `.safetensors` file of ours.
///
/// # Errors
/// When the file is missing, damaged, or of another kind.
pub fn open(name: &str, device: Device) -> Result<Opened> {
    let bytes = bytes(name)?;
    Ok(Opened { tokenizer: VqVae::from_bytes(&bytes, Path::new(name), device)?, sha256: sha256(&bytes) })
}
