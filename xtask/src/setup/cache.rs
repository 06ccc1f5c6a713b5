//! The per-user cache: where it lies, who may fill it, how much room it has.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::locks::{Lock, Refusal};

/// The folder of this project in the cache of the user.
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// `$XDG_CACHE_HOME/var-rs`, or `~/.cache/var-rs`; it need not exist yet.
    ///
    /// # Errors
    /// When neither XDG_CACHE_HOME nor HOME names an absolute folder.
    pub fn find() -> Result<Self> {
        // A relative XDG_CACHE_HOME counts as not set, as its specification wants.
        let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
        match base {
            Some(base) => Ok(Self { folder: base.join("var-rs") }),
            None => {
                bail!("neither XDG_CACHE_HOME nor HOME is set: set XDG_CACHE_HOME to a folder for the cache")
            }
        }
    }

    /// A path in the cache.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Where wheels wait until they are unpacked.
    pub fn downloads(&self) -> PathBuf {
        self.path("downloads")
    }

    /// Makes the folder and takes the right to fill it, until the lock is dropped; waits for another set-up that has
    /// it, and says so. A process that dies loses it.
    pub fn lock(&self) -> Result<Lock> {
        let advice = || {
            format!(
                "cannot write in {}: set XDG_CACHE_HOME to a folder that you can write to",
                self.folder.display()
            )
        };
        std::fs::create_dir_all(self.downloads()).with_context(advice)?;
        let path = self.path("lock");
        let file = File::options().create(true).append(true).open(&path).with_context(advice)?;
        let mut told = false;
        loop {
            let hint = match Lock::take(&file, &path) {
                Ok(lock) => return Ok(lock),
                Err(Refusal::Io(error)) => return Err(error).with_context(advice),
                Err(Refusal::Marked(why)) => format!(" ({why})"),
                Err(Refusal::Held) => String::new(),
            };
            if !told {
                let folder = self.folder.display();
                eprintln!("set-up: another set-up fills {folder} right now: waiting for it to end{hint}");
                told = true;
            }
        }
    }

    /// Removes what a killed set-up left half done, as far as that can be: a pip that outlived it may
    /// still write there. Only for the holder of the lock.
    pub fn tidy(&self) -> Result<()> {
        for folder in [&self.folder, &self.downloads()] {
            let unreadable = || format!("cannot read the folder {}", folder.display());
            for entry in std::fs::read_dir(folder).with_context(unreadable)? {
                let path = entry.with_context(unreadable)?.path();
                if path.extension().is_some_and(|extension| extension == HALF_DONE) {
                    let _ = remove(&path);
                }
            }
        }
        Ok(())
    }

    /// Fails when the disk of the cache has less than `bytes` free.
    pub fn require_room(&self, bytes: u64) -> Result<()> {
        let free = fs4::available_space(&self.folder)
            .with_context(|| format!("cannot read the free space of {}", self.folder.display()))?;
        if free < bytes {
            bail!(
                "{} has {} MB free and the set-up needs {} MB: free some, or set XDG_CACHE_HOME to a folder \
                 on a larger disk",
                self.folder.display(),
                free / 1_000_000,
                bytes.div_ceil(1_000_000)
            );
        }
        Ok(())
    }
}

/// Extension of everything that is not finished.
pub const HALF_DONE: &str = "partial";

/// Removes a file or a folder; nothing there is fine.
pub fn remove(path: &Path) -> Result<()> {
    let result = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// A half-done folder that goes away when it is dropped, whatever the reason.
pub struct Scratch(pub PathBuf);

impl Scratch {
    /// Makes `path`, empty.
    pub fn new(path: PathBuf) -> Result<Self> {
        remove(&path)?;
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Best effort: what stays is removed by the next set-up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Makes `link` a symbolic link to `target`, in one step where a link is there already.
pub fn symlink(target: &Path, link: &Path) -> Result<()> {
    let cannot = || format!("cannot link {} to {}", link.display(), target.display());
    if let Some(folder) = link.parent() {
        std::fs::create_dir_all(folder).with_context(cannot)?;
    }
    let mut beside = link.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    remove(&beside)?;
    std::os::unix::fs::symlink(target, &beside).with_context(cannot)?;
    std::fs::rename(&beside, link).with_context(cannot)
}
