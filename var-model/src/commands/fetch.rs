//! `var-model fetch`: brings published weights into the cache.

use std::path::PathBuf;

use serde_json::json;
use var_tokenizer::hub::{self, Remote, released};
use var_tokenizer::nearest::did_you_mean;
use var_tokenizer::progress::say;

use crate::error::{Error, Result};

/// Fetches what `name` means, and the tokenizer that goes with a published model. Returns names and files.
///
/// # Errors
/// When the name is unknown, or the hub or the disk refuses.
pub fn fetch(name: &str) -> Result<Vec<(String, PathBuf)>> {
    let remote = Remote::named(name)?.ok_or_else(|| {
        let hint = did_you_mean(name, released().iter().map(|weights| weights.name));
        Error::Config(format!(
            "'{name}' is not a published name; without names, this command lists them{hint}"
        ))
    })?;
    let mut files = vec![(remote.to_string(), hub::fetch(&remote)?)];
    if let Some(tokenizer) = remote.weights().and_then(|weights| weights.tokenizer()) {
        let tokenizer = Remote::of(tokenizer);
        files.push((tokenizer.to_string(), hub::fetch(&tokenizer)?));
    }
    Ok(files)
}

/// Prints the published names, as a table or JSON lines.
///
/// # Errors
/// When standard output cannot be written.
pub fn list(as_json: bool) -> Result<()> {
    for weights in released() {
        let file = Remote::of(weights).to_string();
        if as_json {
            say(json!({"name": weights.name, "file": file, "about": weights.about}))?;
        } else {
            say(format_args!("{:<16} {:<62} {file}", weights.name, weights.about))?;
        }
    }
    Ok(())
}
