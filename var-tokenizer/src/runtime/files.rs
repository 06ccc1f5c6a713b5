//! Files: written whole or not at all, told apart by their SHA-256.
//!
//! Output goes where the person points. A link stays and its target is replaced; a device or a pipe is written to;
//! only plain files are replaced. A new file gets the mode of the umask, a replaced one keeps its own.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::runtime::error::{Error, Result};
use crate::runtime::locks::{Lock, Refusal};

/// Bytes read at once.
const PIECE: usize = 1 << 20;
/// Links that are followed one after the other, as many as the kernel follows.
const MOST_LINKS: usize = 40;
/// Mode of a new file before the umask takes its bits.
const NEW_MODE: u32 = 0o666;

/// Where output to a path goes.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// A plain file, there or not, at the end of all links: replaced as a whole.
    File(PathBuf),
    /// A device, a pipe, a socket or an open file of a process: written to as it is.
    Stream,
}

/// `path` with `suffix` after its whole name: the name of a file that belongs to it.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// The folder that holds `path`.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Follows the links of `path` to where output goes.
fn place_of(path: &Path) -> Result<Place> {
    let mut at = path.to_owned();
    for _ in 0..MOST_LINKS {
        // What `/dev/stdout` leads to is open already; it may be a file that others append to.
        if at.starts_with("/proc") {
            return Ok(Place::Stream);
        }
        match std::fs::symlink_metadata(&at) {
            Ok(about) if about.is_symlink() => {
                let target = std::fs::read_link(&at).map_err(|e| Error::io(&at, e))?;
                at = folder_of(&at).join(target);
            }
            Ok(about) if about.is_dir() => {
                return Err(Error::file(path, "is a folder; name a file in it"));
            }
            Ok(about) if about.is_file() => return Ok(Place::File(at)),
            Ok(_) => return Ok(Place::Stream),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Place::File(at)),
            Err(e) => return Err(Error::io(path, e)),
        }
    }
    Err(Error::file(path, "is a link that leads back to itself; remove it, or name another file"))
}

/// Makes sure, before anything is computed, that a file can be written at `path`.
///
/// # Errors
/// When it is a folder, or its folder is missing or cannot be written.
pub fn check_place(path: &Path) -> Result<()> {
    let target = match place_of(path)? {
        Place::Stream => return Ok(()),
        Place::File(target) => target,
    };
    let folder = folder_of(&target);
    if !folder.is_dir() {
        return Err(Error::file(
            folder,
            format!("no such folder; make it first, then write {}", path.display()),
        ));
    }
    tempfile::tempfile_in(folder).map_err(|e| Error::io(folder, e))?;
    Ok(())
}

/// As [`check_place`], for output that is made over hours and can be resumed: it needs a plain file.
///
/// # Errors
/// As [`check_place`]; when `path` is a device or a pipe.
pub fn check_lasting_place(path: &Path) -> Result<()> {
    if place_of(path)? == Place::Stream {
        return Err(Error::file(path, "is a device or a pipe; name a file: this output can be resumed"));
    }
    check_place(path)
}

/// Makes a folder and its parents.
///
/// # Errors
/// When the disk refuses.
pub fn make_folder(path: &Path) -> Result<()> {
    std::fs::create_dir_all(path).map_err(|e| Error::io(path, e))
}

/// Writes `bytes` to `path`, whole or not at all, as [`write_with`] does.
///
/// # Errors
/// When the disk is full or the folder cannot be written; `path` is then as it was.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |file| file.write_all(bytes).map_err(|e| Error::io(path, e)))
}

/// Copies the file `from` to `path` as [`write_with`] does. The file is never in memory as a whole.
///
/// # Errors
/// When `from` cannot be read, the disk is full or the folder cannot be written; `path` is then as it was.
pub fn copy_atomically(from: &Path, path: &Path) -> Result<()> {
    let mut source = File::open(from).map_err(|e| Error::io(from, e))?;
    write_with(path, |file| std::io::copy(&mut source, file).map(|_| ()).map_err(|e| Error::io(path, e)))
}

/// Lets `write` make a file next to the target of `path`, flushes and renames it: readers see the old file or the
/// new one. For a device or a pipe the file is made among the temporary ones and copied, so that `write` may seek.
///
/// # Errors
/// When `write` fails, the disk is full or the folder cannot be written; `path` is then as it was.
pub fn write_with(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let io = |e: std::io::Error| Error::io(path, e);
    let target = match place_of(path)? {
        Place::File(target) => target,
        Place::Stream => {
            let mut file = tempfile::tempfile().map_err(|e| Error::io(std::env::temp_dir(), e))?;
            write(&mut file)?;
            file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(std::env::temp_dir(), e))?;
            return pour(&mut file, path);
        }
    };
    let folder = folder_of(&target);
    let mut file = tempfile::Builder::new()
        .permissions(Permissions::from_mode(NEW_MODE))
        .tempfile_in(folder)
        .map_err(|e| Error::io(folder, e))?;
    write(file.as_file_mut())?;
    file.as_file().sync_all().map_err(io)?;
    keep_mode(file.path(), &target).map_err(io)?;
    file.persist(&target).map_err(|e| io(e.error))?;
    sync_folder_of(&target);
    Ok(())
}

/// Puts the finished file `beside` at `path`: flushes it and renames it to the target of `path`; the new name is
/// on the disk afterwards.
///
/// # Errors
/// When the disk refuses; `path` is then as it was.
pub fn put_in_place(beside: &Path, path: &Path) -> Result<()> {
    let io = |e: std::io::Error| Error::io(path, e);
    let moved = match place_of(path)? {
        Place::File(target) => {
            File::open(beside).and_then(|file| file.sync_all()).map_err(io)?;
            keep_mode(beside, &target).map_err(io)?;
            match std::fs::rename(beside, &target) {
                // A link may lead to another disk.
                Err(e) if e.kind() == std::io::ErrorKind::CrossesDevices => copy_atomically(beside, &target),
                renamed => renamed.map(|()| sync_folder_of(&target)).map_err(io),
            }
        }
        Place::Stream => pour(&mut File::open(beside).map_err(io)?, path),
    };
    // It is not there any more when it was renamed; after a failure it is of no use.
    let _ = std::fs::remove_file(beside);
    moved
}

/// Copies `from` into the device or pipe at `path`. An open file of a process is appended to.
fn pour(from: &mut File, path: &Path) -> Result<()> {
    let io = |e: std::io::Error| Error::io(path, e);
    let mut stream = OpenOptions::new().append(true).open(path).map_err(io)?;
    std::io::copy(from, &mut stream).and_then(|_| stream.flush()).map_err(io)
}

/// Gives `new` the mode of the file `old` that it replaces, where there is one.
fn keep_mode(new: &Path, old: &Path) -> std::io::Result<()> {
    match std::fs::metadata(old) {
        Ok(about) => std::fs::set_permissions(new, Permissions::from_mode(about.mode() & 0o7777)),
        Err(_) => Ok(()),
    }
}

/// Flushes the folder that holds `path`: a rename is on the disk only then. Best effort, since some file
/// systems refuse.
pub fn sync_folder_of(path: &Path) {
    if let Ok(folder) = File::open(folder_of(path)) {
        let _ = folder.sync_all();
    }
}

/// Locks `file`, which is open at `path`, against other processes for as long as the lock lives. `busy` says what
/// to do when another process has it.
///
/// # Errors
/// `busy`, and on a file system without locks which file to delete; when the file system refuses.
pub fn lock(file: &File, path: &Path, busy: &str) -> Result<Lock> {
    Lock::take(file, path).map_err(|refusal| match refusal {
        Refusal::Held => Error::file(path, busy),
        Refusal::Marked(why) => Error::file(path, format!("{busy} ({why})")),
        Refusal::Io(e) => Error::io(path, e),
    })
}

/// Opens or makes the file at `path`, to read and to write, and locks it against other processes.
///
/// # Errors
/// When another process has it, or the file cannot be made.
pub fn open_locked(path: &Path) -> Result<(File, Lock)> {
    let io = |e: std::io::Error| Error::io(path, e);
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(io)?;
    let lock = lock(&file, path, "another process is writing it; wait for it, or choose another output")?;
    // Between opening and locking the other process may have finished and deleted the file.
    let inode = file.metadata().map_err(io)?.ino();
    match std::fs::metadata(path) {
        Ok(now) if now.ino() == inode => Ok((file, lock)),
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

/// Two hexadecimal digits per byte.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
