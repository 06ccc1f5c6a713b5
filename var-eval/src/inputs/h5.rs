//! Files that end in `.h5`: tokens, which are decoded to images, or features.

use std::io::Read;
use std::path::Path;

use var_tokenizer::h5;
use var_tokenizer::tokens::TokenFile;

use crate::error::{Error, Result};
use crate::features::store::{FeatureFile, JOURNAL_MARK, partial_path};

/// An opened `.h5` file.
#[derive(Debug)]
pub enum H5 {
    /// Tokens (`var-tokenizer encode`).
    Tokens(Box<TokenFile>),
    /// Features (`var-eval stats`, `var-eval score --out`).
    Features(Box<FeatureFile>),
}

/// Whether the name of the file ends in `.h5`.
pub fn is_h5(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "h5")
}

/// Opens the file at `path`: tokens or features, by its content.
///
/// # Errors
/// When it is missing, incomplete or damaged. The message is about tokens or about features, as the content of the file or
/// of its journal shows.
pub fn open_h5(path: &Path) -> Result<H5> {
    if !path.exists() {
        let features = || FeatureFile::open(path).map(|file| H5::Features(Box::new(file)));
        return match first_bytes(&partial_path(path)) {
            None => Err(Error::file(path, "no such file; expected features or tokens (.h5)")),
            Some(bytes) if bytes.starts_with(JOURNAL_MARK) => features(),
            Some(_) => Ok(H5::Tokens(Box::new(TokenFile::open(path)?))),
        };
    }
    let as_tokens = match TokenFile::open(path) {
        Ok(tokens) => return Ok(H5::Tokens(Box::new(tokens))),
        Err(e) => e,
    };
    match FeatureFile::open(path) {
        Ok(features) => Ok(H5::Features(Box::new(features))),
        // A token file has one group for each part of a data set; its name is that of the part.
        Err(_) if h5::open(path, "").is_ok_and(|file| file.link_exists("train")) => Err(as_tokens.into()),
        Err(e) => Err(e),
    }
}

/// Reads the whole file at `path` once. The child process of [`var_tokenizer::h5::check`] calls it.
///
/// # Errors
/// As `open_h5`, and when a checksum is wrong or a value is out of range.
pub fn check_h5(path: &Path) -> Result<()> {
    match open_h5(path)? {
        H5::Tokens(_) => Ok(TokenFile::check(path)?),
        H5::Features(file) => file.check(),
    }
}

/// The first 8 bytes of a file.
fn first_bytes(path: &Path) -> Option<[u8; 8]> {
    let mut bytes = [0; 8];
    std::fs::File::open(path).ok()?.read_exact(&mut bytes).ok().map(|()| bytes)
}
