//! Files with a published address outside hubs: weights and references of evaluation.

use std::path::{Path, PathBuf};

use super::client::{self, Failure};
use super::download::{Download, size};
use super::environment::user_cache;
use super::waiting::wait_for_lock;
use crate::runtime::error::{Error, Result};
use crate::runtime::files::{make_folder, with_suffix};
use crate::runtime::progress::{self, Progress};

/// Names a server that has copies: `https://host/path` is then fetched from `MIRROR/host/path`.
const MIRROR: &str = "VAR_MIRROR";

/// A file with a published address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// The word for it.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// Its address.
    pub address: &'static str,
    /// The beginning of its SHA-256, as far as its publisher gives it.
    pub sha256: Option<&'static str>,
    /// The terms of use.
    pub licence: &'static str,
}

impl Published {
    /// Name of its file.
    pub fn file(&self) -> &'static str {
        self.address.rsplit_once('/').map_or(self.address, |(_, file)| file)
    }

    /// Its path in the cache of this user; fetches it if it is missing.
    ///
    /// # Errors
    /// When the server or the disk refuses, or the sum is wrong.
    pub fn fetch(&self) -> Result<PathBuf> {
        let folder = folder()?;
        let to = folder.join(self.file());
        if to.exists() {
            return Ok(to);
        }
        make_folder(&folder)?;
        let progress = Progress::new(progress::of_program());
        let _lock = wait_for_lock(&with_suffix(&to, ".lock"), self.file(), &progress)?;
        if !to.exists() {
            self.bring(&to, &progress)?;
        }
        Ok(to)
    }

    fn bring(&self, to: &Path, progress: &Progress) -> Result<()> {
        let mirror = std::env::var(MIRROR).ok().filter(|mirror| !mirror.is_empty());
        let address = match mirror {
            Some(mirror) => self.address.replacen("https:/", mirror.trim_end_matches('/'), 1),
            None => self.address.to_owned(),
        };
        progress.note(&format!("fetching {} from {address}\nlicence: {}", self.what, self.licence));
        let agent = client::agent();
        let open = |from| {
            let answer = client::get(&agent, &address, from, |_| None)?;
            match answer.status().as_u16() {
                200 | 206 | 416 => Ok(answer),
                status @ (429 | 500..) => {
                    Err(Failure::Passing(format!("the server is busy or out of order ({status})"), None))
                }
                status => Err(Failure::Final(format!("{address}: the server answers {status}"))),
            }
        };
        let download = Download {
            name: self.file(),
            to,
            bytes: None,
            sha256: self.sha256,
            zip: self.file().ends_with(".npz"),
        };
        download.run(open).map_err(|e| match e {
            Error::Check(why) => Error::Check(self.advice(&why, to)),
            Error::Config(why) => Error::Config(self.advice(&why, to)),
            other => other,
        })?;
        if self.sha256.is_none() {
            let bytes = std::fs::metadata(to).map_or(0, |about| about.len());
            progress
                .note(&format!("its publisher gives no sum: only its form was checked ({})", size(bytes)));
        }
        Ok(())
    }

    fn advice(&self, why: &str, to: &Path) -> String {
        format!("{why}. You can also save {} as {}", self.address, to.display())
    }
}

/// The folder of these files: `$XDG_CACHE_HOME/var-rs/published`, or below `~/.cache`.
fn folder() -> Result<PathBuf> {
    let cache = user_cache()
        .ok_or_else(|| Error::config("HOME is not set; set XDG_CACHE_HOME to a folder for downloads"))?;
    Ok(cache.join("var-rs").join("published"))
}
