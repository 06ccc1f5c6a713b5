//! Published weights by name: fetched from a model hub once, then found in the cache that Python's `huggingface_hub`
//! shares.
//!
//! Where a weight file is asked for, a program accepts three kinds of text: a path, a name of `released` (`var-d16`),
//! and `hf:OWNER/REPO/FILE` with `@REVISION` behind it or not. `local` turns each into the path of a file.
//!
//! These variables have the meaning that they have for `huggingface_hub`: `HF_HOME`, `HF_HUB_CACHE`, `HF_ENDPOINT`,
//! `HF_TOKEN`, `HF_TOKEN_PATH`, `HF_HUB_OFFLINE`. A file that the cache has needs no network.

mod cache;
mod client;
mod download;
mod environment;
mod fetch;
mod name;
mod released;
mod waiting;
pub mod web;

use std::path::{Path, PathBuf};

use environment::Hub;
pub use name::Remote;
pub use released::{Released, released};

use crate::runtime::error::Result;
use crate::runtime::nearest::nearest;

/// The file that `name` means: `builtin` and paths stay as they are, published weights are fetched if the cache lacks
/// them.
///
/// # Errors
/// When the name is malformed, or the file cannot be fetched.
pub fn local(name: &str) -> Result<String> {
    match Remote::named(name)? {
        Some(remote) => Ok(fetch(&remote)?.display().to_string()),
        None => Ok(name.to_owned()),
    }
}

/// [`local`] for a path: one that is not UTF-8 is not a name.
///
/// # Errors
/// As [`local`].
pub fn local_path(path: &Path) -> Result<PathBuf> {
    path.to_str().map_or_else(|| Ok(path.to_owned()), |name| local(name).map(PathBuf::from))
}

/// The file of `remote` in the cache; fetches it if the cache lacks it.
///
/// # Errors
/// When the hub or the disk refuses, or the sum of the file is wrong; says what to do without a network.
pub fn fetch(remote: &Remote) -> Result<PathBuf> {
    fetch::fetch(&Hub::from_environment()?, remote)
}

/// What to add to the message that there is no file at `path`: the published name that was perhaps meant.
pub fn hint(path: &Path) -> String {
    let known = released().iter().map(|weights| weights.name).chain(["builtin"]);
    match near(path, known) {
        None => String::new(),
        Some(None) => "; `var-model fetch` lists the names of published weights".to_owned(),
        Some(Some(name)) => format!("; did you mean '{name}'?"),
    }
}

/// The name in `known` that resembles `path` most, if any does. `None` if `path` cannot be a name: it has a folder or an
/// ending.
pub fn near<'a>(path: &Path, known: impl IntoIterator<Item = &'a str>) -> Option<Option<&'a str>> {
    let word = path.to_str().filter(|word| !word.contains(['/', '.']))?;
    Some(nearest(word, known))
}
