//! One download of a file at a time, over all processes.

use std::fs::OpenOptions;
use std::path::Path;
use std::time::Duration;

use crate::runtime::error::{Error, Result};
use crate::runtime::locks::{Lock, Refusal};
use crate::runtime::progress::Progress;
use crate::runtime::signals;

/// How often the lock is asked for.
const PAUSE: Duration = Duration::from_millis(300);

/// Locks the file at `path`, which it makes. Waits until no other process fetches `name`.
///
/// # Errors
/// When the file cannot be made or locked; when a signal asks to stop.
pub(super) fn wait_for_lock(path: &Path, name: &str, progress: &Progress) -> Result<Lock> {
    let io = |e: std::io::Error| Error::io(path, e);
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
    let mut told = false;
    loop {
        let why = match Lock::take(&file, path) {
            Ok(lock) => return Ok(lock),
            Err(Refusal::Io(e)) => return Err(io(e)),
            Err(Refusal::Held) => String::new(),
            Err(Refusal::Marked(why)) => format!(" ({why})"),
        };
        if !told {
            progress.note(&format!("another process fetches {name}; waiting for it{why}"));
            told = true;
        }
        if signals::asked_to_stop() {
            return Err(Error::Interrupted(format!("{name}: another process fetches it")));
        }
        std::thread::sleep(PAUSE);
    }
}
