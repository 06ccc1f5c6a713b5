//! Locks between processes: those of the file system, or a marker file where it has none.
//!
//! Some network file systems know no `flock`. There the first process makes a marker next to the file, by exclusive
//! creation, and removes it at the end. The marker says which process of which machine has made it, so that one that
//! a killed process left behind is recognised. Only the standard library is used: `xtask` includes this file.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often a lock is asked for before another process has it for certain.
const TRIES: usize = 25;
const PAUSE: Duration = Duration::from_millis(20);
/// What a file system without locks answers: `ENOLCK`, `ENOSYS`, `EOPNOTSUPP`, `ENOTSUPP`.
const UNSUPPORTED: [i32; 4] = [37, 38, 95, 524];
/// Ending of a marker's name.
const ENDING: &str = ".held";

/// A lock that is held for as long as this lives.
#[derive(Debug)]
pub struct Lock {
    /// Shares the lock of the file that was locked.
    _file: Option<File>,
    marker: Option<PathBuf>,
}

/// Why a lock was not had.
#[derive(Debug)]
pub enum Refusal {
    /// Another process has it.
    Held,
    /// The file system has no locks, and a marker is there. Says whose it is and when it may be deleted.
    Marked(String),
    /// The system refused.
    Io(io::Error),
}

impl Lock {
    /// Locks `file`, which is open at `path`. Waits half a second at most: a process that is just starting another
    /// one shares its locks with it for a moment.
    ///
    /// # Errors
    /// When another process has the lock, or the system refuses.
    pub fn take(file: &File, path: &Path) -> Result<Self, Refusal> {
        let mut tries = 0;
        loop {
            let refusal = match file.try_lock() {
                Ok(()) => {
                    let file = file.try_clone().map_err(Refusal::Io)?;
                    return Ok(Self { _file: Some(file), marker: None });
                }
                Err(TryLockError::WouldBlock) => Refusal::Held,
                Err(TryLockError::Error(e)) if e.raw_os_error().is_some_and(|e| UNSUPPORTED.contains(&e)) => {
                    match mark(path) {
                        Ok(marker) => return Ok(Self { _file: None, marker: Some(marker) }),
                        Err(refusal) => refusal,
                    }
                }
                Err(TryLockError::Error(e)) => Refusal::Io(e),
            };
            tries += 1;
            if tries > TRIES || matches!(refusal, Refusal::Io(_)) {
                return Err(refusal);
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(marker) = &self.marker {
            let _ = std::fs::remove_file(marker);
        }
    }
}

/// Makes the marker of `path`; one of a process that has ended gives way.
fn mark(path: &Path) -> Result<PathBuf, Refusal> {
    let mut name = path.as_os_str().to_owned();
    name.push(ENDING);
    let marker = PathBuf::from(name);
    let own = format!("{}\n{}\n", machine(), process(std::process::id()).unwrap_or_default());
    if let Ok(found) = std::fs::read_to_string(&marker) {
        if !is_stale(&found) {
            return Err(Refusal::Marked(foreign(&marker, &found)));
        }
        clear(&marker, &found)?;
    }
    let made = OpenOptions::new().write(true).create_new(true).open(&marker);
    match made.and_then(|mut file| file.write_all(own.as_bytes()).and_then(|()| file.sync_all())) {
        Ok(()) => Ok(marker),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Err(Refusal::Marked(foreign(&marker, ""))),
        Err(e) => Err(Refusal::Io(e)),
    }
}

/// Removes the marker that says `found`. By renaming: of two processes that clear it only one succeeds, and a marker
/// that a third one has made meanwhile goes back.
fn clear(marker: &Path, found: &str) -> Result<(), Refusal> {
    let mut aside = OsString::from(marker);
    aside.push(format!(".{}", std::process::id()));
    let aside = PathBuf::from(aside);
    match std::fs::rename(marker, &aside) {
        Ok(()) => {}
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(Refusal::Io(e)),
    }
    if std::fs::read_to_string(&aside).is_ok_and(|now| now == found) {
        return std::fs::remove_file(&aside).map_err(Refusal::Io);
    }
    std::fs::rename(&aside, marker).map_err(Refusal::Io)?;
    Err(Refusal::Marked(foreign(marker, "")))
}

/// Whether the process of a marker ran on this machine and has ended.
fn is_stale(found: &str) -> bool {
    let mut lines = found.lines();
    let (here, whose) = (lines.next() == Some(machine().as_str()), lines.next().unwrap_or_default());
    let number = whose.split(' ').next().and_then(|number| number.parse().ok());
    here && number.is_some_and(|number| process(number).as_deref() != Some(whose))
}

fn foreign(marker: &Path, found: &str) -> String {
    let words: Vec<&str> = found.split_whitespace().collect();
    let whose = match words.as_slice() {
        [host, _, _, number, ..] => format!("process {number} on {host}"),
        _ => "another process".to_owned(),
    };
    format!(
        "the file system has no locks, so {whose} marked it; delete {} if that process has ended",
        marker.display()
    )
}

/// This machine since it was started, and the group of processes that share numbers: host, boot, namespace.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let group = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let (host, boot) = (read("/proc/sys/kernel/hostname"), read("/proc/sys/kernel/random/boot_id"));
    format!("{} {} {}", or_unknown(&host), or_unknown(&boot), or_unknown(&group.display().to_string()))
}

fn or_unknown(text: &str) -> &str {
    if text.is_empty() { "unknown" } else { text }
}

/// The number of a process that runs and when it began, in ticks since the machine was started: numbers are used
/// again, pairs are not.
fn process(number: u32) -> Option<String> {
    let about = std::fs::read_to_string(format!("/proc/{number}/stat")).ok()?;
    // The name, in brackets, may hold anything; the beginning is the 20th field after it.
    let (_, fields) = about.rsplit_once(')')?;
    Some(format!("{number} {}", fields.split_whitespace().nth(19)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        (folder, path)
    }

    #[test]
    fn a_marker_of_a_running_process_is_respected_and_names_the_file_to_delete() {
        let (_folder, path) = place();
        let marker = mark(&path).unwrap();
        let Err(Refusal::Marked(why)) = mark(&path) else { panic!("marked twice") };
        let number = format!("process {}", std::process::id());
        for part in [number.as_str(), "delete ", "x.held"] {
            assert!(why.contains(part), "'{part}' is not in {why}");
        }
        drop(Lock { _file: None, marker: Some(marker.clone()) });
        assert!(!marker.exists());
    }

    #[test]
    fn a_marker_of_a_dead_process_gives_way_and_one_of_another_machine_does_not() {
        let (_folder, path) = place();
        let marker = mark(&path).unwrap();
        // A number that was used again: the same process at another time.
        let (own, others) = (machine(), "elsewhere boot group");
        std::fs::write(&marker, format!("{own}\n{} 0\n", std::process::id())).unwrap();
        assert_eq!(mark(&path).unwrap(), marker);
        std::fs::write(&marker, format!("{others}\n{} 0\n", std::process::id())).unwrap();
        let Err(Refusal::Marked(why)) = mark(&path) else { panic!("took a marker of another machine") };
        assert!(why.contains("on elsewhere"), "{why}");
        // Made, but not yet written.
        std::fs::write(&marker, "").unwrap();
        assert!(matches!(mark(&path), Err(Refusal::Marked(_))));
    }
}
