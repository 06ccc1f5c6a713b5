//! Which hub, and where its cache is: from the variables of `huggingface_hub`.

use std::env::var_os;
use std::path::{Path, PathBuf};

use crate::runtime::error::{Error, Result};

/// The hub if `HF_ENDPOINT` names none.
const ENDPOINT: &str = "https://huggingface.co";

/// A hub and its cache on this machine.
#[derive(Clone)]
pub(super) struct Hub {
    /// Address without a path.
    pub endpoint: String,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Proof of identity for files that need a permission.
    pub token: Option<String>,
    /// Use only the cache.
    pub offline: bool,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Never the token.
        write!(f, "Hub({}, {})", self.endpoint, self.cache.display())
    }
}

impl Hub {
    /// The hub of the variables of this process.
    ///
    /// # Errors
    /// When the user has no home and the variables name no folder; when the token cannot be one.
    pub fn from_environment() -> Result<Self> {
        let text = |name: &str| var_os(name).and_then(|v| v.into_string().ok()).filter(|v| !v.is_empty());
        let cache = ["HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"].into_iter().find_map(path);
        let cache = cache.map_or_else(|| home().map(|home| home.join("hub")), Ok)?;
        let implicit = !text("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some_and(|v| is_true(&v));
        let token_file = path("HF_TOKEN_PATH").or_else(|| Some(home().ok()?.join("token")));
        let token_file = token_file.filter(|_| implicit);
        let token = text("HF_TOKEN").or_else(|| token_in(&token_file?));
        let token = token.map(|token| token.trim().to_owned()).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.chars().all(|c| c.is_ascii_graphic())) {
            return Err(Error::config(
                "the token for the hub has letters that a token cannot have; correct HF_TOKEN, or the file with the token",
            ));
        }
        Ok(Self {
            endpoint: text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.into()).trim_end_matches('/').to_owned(),
            cache,
            token,
            offline: text("HF_HUB_OFFLINE").is_some_and(|v| is_true(&v)),
        })
    }
}

/// The folder of `huggingface_hub`.
fn home() -> Result<PathBuf> {
    let home = path("HF_HOME").or_else(|| Some(user_cache()?.join("huggingface")));
    home.ok_or_else(|| Error::config("HOME is not set; set HF_HOME to a folder for downloads"))
}

/// The cache of this user: `$XDG_CACHE_HOME`, or `~/.cache`. A relative folder counts as not set, as its specification wants.
pub(super) fn user_cache() -> Option<PathBuf> {
    let absolute = |name: &str| path(name).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
}

/// A variable of this process that is a path; an empty one counts as not set.
fn path(name: &str) -> Option<PathBuf> {
    var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

fn token_in(file: &Path) -> Option<String> {
    std::fs::read_to_string(file).ok()
}

/// What `huggingface_hub` takes for "yes".
fn is_true(value: &str) -> bool {
    ["1", "on", "yes", "true"].contains(&value.to_lowercase().as_str())
}
