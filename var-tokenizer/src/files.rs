//! Files: written whole or not at all, told apart by their SHA-256.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// How often a lock is asked for before another writer is taken for certain.
const LOCK_TRIES: usize = 25;
/// Bytes read at once.
const PIECE: usize = 1 << 20;

/// The folder that holds `path`.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes sure, before anything is computed, that a file can be made at `path`.
///
/// # Errors
/// When it is a folder, or its folder is missing or cannot be written.
pub fn check_place(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Err(Error::file(path, "is a folder; name a file in it"));
    }
    let folder = folder_of(path);
    if !folder.is_dir() {
        return Err(Error::file(
            folder,
            format!("no such folder; make it first, then write {}", path.display()),
        ));
    }
    tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, e))?;
    Ok(())
}

/// Writes `bytes` beside `path`, flushes and renames.
///
/// # Errors
/// When the disk is full or the folder cannot be written; `path` is then as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes).map_err(|e| Error::io(path, e)))
}

/// Copies the file `from` beside `path`, flushes and renames. The file is never in memory as a whole.
///
/// # Errors
/// When `from` cannot be read, the disk is full or the folder cannot be written; `path` is then as it was.
pub fn copy_atomically(from: &Path, path: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(|e| Error::io(from, e))?;
    write_with(path, |file| std::io::copy(&mut source, file).map(|_| ()).map_err(|e| Error::io(path, e)))
}

/// Lets `write` make a file beside `path`, flushes and renames it.
///
/// # Errors
/// When `write` fails, the disk is full or the folder cannot be written; `path` is then as it was.
pub fn write_with(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let folder = folder_of(path);
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| Error::io(folder, e))?;
    write(file.as_file_mut())?;
    file.as_file().sync_all().map_err(|e| Error::io(path, e))?;
    set_plain_permissions(file.path()).map_err(|e| Error::io(path, e))?;
    file.persist(path).map_err(|e| Error::io(path, e.error))?;
    sync_folder_of(path);
    Ok(())
}

/// Flushes the finished file `beside` and renames it to `path`; the new name is on the disk afterwards.
///
/// # Errors
/// When the disk refuses; `path` is then as it was.
pub fn put_in_place(beside: &Path, path: &Path) -> Result<()> {
    let io = |e: std::io::Error| Error::io(path, e);
    File::open(beside).and_then(|file| file.sync_all()).map_err(io)?;
    std::fs::rename(beside, path).map_err(io)?;
    sync_folder_of(path);
    Ok(())
}

/// Flushes the folder that holds `path`: a rename is on the disk only then. Best effort, since some file
/// systems refuse.
pub fn sync_folder_of(path: &Path) {
    if let Ok(folder) = File::open(folder_of(path)) {
        let _ = folder.sync_all();
    }
}

#[cfg(unix)]
fn set_plain_permissions(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn set_plain_permissions(_: &Path) -> std::io::Result<()> {
    Ok(())
}

/// Opens or makes the file at `path`, to read and to write, and locks it against other processes as long as it
/// is open.
///
/// # Errors
/// When another process has it, or the file cannot be made.
pub fn open_locked(path: &Path) -> Result<File> {
    let io = |e: std::io::Error| Error::io(path, e);
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
    let mut tries = 0;
    loop {
        match file.try_lock() {
            Ok(()) => break,
            // A process that is just starting another one shares its locks with it for a moment.
            Err(TryLockError::WouldBlock) if tries < LOCK_TRIES => {
                tries += 1;
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                let advice = "another process is writing it; wait for it, or choose another output";
                return Err(Error::file(path, advice));
            }
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
    }
    // Between opening and locking the other process may have finished and deleted the file.
    let inode = file.metadata().map_err(io)?.ino();
    match std::fs::metadata(path) {
        Ok(now) if now.ino() == inode => Ok(file),
        _ => Err(Error::file(path, "another process has just finished it")),
    }
}

/// SHA-256 of `bytes` in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// SHA-256 of the file at `path` in hexadecimal, read in pieces.
///
/// # Errors
/// When it cannot be read.
pub fn sha256_of(path: &Path) -> Result<String> {
    let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
    let mut sum = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece).map_err(|e| Error::io(path, e))? {
            0 => return Ok(hexadecimal(&sum.finalize())),
            read => sum.update(piece.get(..read).unwrap_or_default()),
        }
    }
}

/// Two hexadecimal digits a byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
