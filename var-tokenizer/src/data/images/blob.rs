//! A file that many threads read at random places. A packed file is unpacked to a temporary file without a name.
//!
//! A small packed file may unpack to more than the disk holds, and may announce any size. The size of the packed file
//! limits the memory ([`Blob::check_list`]), and unpacking stops before the disk is full.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::recent::Recent;
use crate::runtime::error::{Error, Result};
use crate::runtime::zips::{self, Bytes};

/// Memory that a list of images may take with any size of the file: ten million images.
const LIST: u64 = 1 << 30;
/// Bytes of memory beyond that, per byte of the file on disk.
const LIST_PER_BYTE: u64 = 16;
/// What unpacking leaves free on the disk: 1 GB, or a twentieth of a small disk.
const SPARED: u64 = 1 << 30;
const SPARED_SHARE: u64 = 20;
/// Bytes that are unpacked between two looks at the disk.
const STRIDE: u64 = 64 << 20;

/// How a file is reached.
#[derive(Debug, Clone)]
enum Handle {
    /// Open, by its name.
    Named(Arc<File>),
    /// Open, without a name: nothing else leads to it.
    Nameless(Arc<File>),
    /// Opened by its name when it is read, and kept open among others under a key.
    Lent(Arc<Recent<File>>, u64),
}

/// Bytes on disk with random access; reads do not move a shared position.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    handle: Handle,
    path: PathBuf,
    begin: u64,
    length: u64,
    /// Size of the file at `path`, packed as it may be.
    packed: u64,
}

impl Blob {
    /// The file at `path`, unpacked first when it is gzip.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let plain = Self::plain(path)?;
        let mut magic = [0; 2];
        if plain.length >= 2 && plain.read_at(&mut magic, 0).is_ok() && magic == [0x1f, 0x8b] {
            let unpacker = flate2::read::MultiGzDecoder::new(std::io::BufReader::new(plain.reader()));
            return Self::unpack(path, plain.length, unpacker, "gzip");
        }
        Ok(plain)
    }

    /// The file at `path` as it is.
    pub(crate) fn plain(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
        let handle = Handle::Named(Arc::new(file));
        Ok(Self { handle, path: path.to_owned(), begin: 0, length: size, packed: size })
    }

    /// All that `reader` gives, copied to a temporary file that vanishes with this value. `packed` is the
    /// size of the file at `path`.
    ///
    /// # Errors
    /// When the data is damaged, or the disk of temporary files is all but full.
    pub(crate) fn unpack(path: &Path, packed: u64, mut reader: impl Read, kind: &str) -> Result<Self> {
        let mut file = tempfile::tempfile().map_err(|e| Error::io(std::env::temp_dir(), e))?;
        let mut buffer = vec![0; 1 << 20];
        let (mut length, mut next_look) = (0, 0);
        loop {
            if length >= next_look {
                check_room(path, length, 0)?;
                next_look = length + STRIDE;
            }
            let count = reader
                .read(&mut buffer)
                .map_err(|e| Error::file(path, format!("truncated or damaged {kind} data: {e}")))?;
            let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
            std::io::Write::write_all(&mut file, part).map_err(|e| Error::io(std::env::temp_dir(), e))?;
            length += count as u64;
        }
        let handle = Handle::Nameless(Arc::new(file));
        Ok(Self { handle, path: path.to_owned(), begin: 0, length, packed })
    }

    /// Closes the file, and opens it again for reading among those that `open` keeps open, under `key`. An unpacked
    /// file stays open.
    pub(crate) fn lend(&mut self, open: &Arc<Recent<File>>, key: u64) {
        if matches!(self.handle, Handle::Named(_)) {
            self.handle = Handle::Lent(Arc::clone(open), key);
        }
    }

    /// Returns the file, open.
    fn file(&self) -> Result<Arc<File>> {
        match &self.handle {
            Handle::Named(file) | Handle::Nameless(file) => Ok(Arc::clone(file)),
            Handle::Lent(open, key) => open.get(*key, || {
                let file = File::open(&self.path).map_err(|e| Error::io(&self.path, e))?;
                let size = file.metadata().map_err(|e| Error::io(&self.path, e))?.len();
                if size != self.packed {
                    let message = format!("changed: {} bytes before, {size} now; start again", self.packed);
                    return Err(Error::file(&self.path, message));
                }
                Ok((file, 1))
            }),
        }
    }

    /// Refuses a list of images that takes `bytes` of memory, when an intact file of this size cannot hold so many.
    ///
    /// # Errors
    /// When it takes more than 1 GB and more than 16 times the size of the file.
    pub(crate) fn check_list(&self, bytes: u64) -> Result<()> {
        let bound = LIST.saturating_add(self.packed.saturating_mul(LIST_PER_BYTE));
        if bytes <= bound {
            return Ok(());
        }
        Err(Error::file(
            &self.path,
            format!(
                "damaged or malicious: its {} bytes list more images than fit in {} MB of memory",
                self.packed,
                bound >> 20
            ),
        ))
    }

    /// Size of the file at `path`, packed as it may be.
    pub(crate) fn packed(&self) -> u64 {
        self.packed
    }

    /// The `length` bytes from `begin` on.
    pub(crate) fn slice(&self, begin: u64, length: u64) -> Result<Self> {
        self.check(begin, length)?;
        Ok(Self { begin: self.begin + begin, length, ..self.clone() })
    }

    /// Size in bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The file that the bytes came from, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// `length` bytes from `offset` on.
    pub(crate) fn read(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.check(offset, length)?;
        let size = usize::try_from(length).map_err(|_| Error::file(&self.path, "too large for memory"))?;
        let mut bytes = vec![0; size];
        self.read_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Reads from `offset` on into `buffer`. Returns the number of bytes: fewer than fit at the end.
    pub(crate) fn read_some(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let left = self.length.saturating_sub(offset);
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(part) = buffer.get_mut(..count) else { return Ok(0) };
        self.file().map_err(std::io::Error::other)?.read_at(part, self.begin + offset)
    }

    /// A reader of the whole, with a position of its own.
    pub(crate) fn reader(&self) -> BlobReader<'_> {
        BlobReader { blob: self, position: 0 }
    }

    fn check(&self, offset: u64, length: u64) -> Result<()> {
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(Error::file(
                &self.path,
                format!(
                    "truncated: {length} bytes expected at {offset}, but there are only {} in all",
                    self.length
                ),
            ));
        }
        Ok(())
    }
}

impl zips::Bytes for Blob {
    fn length(&self) -> u64 {
        self.length
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.check(offset, bytes.len() as u64)?;
        self.file()?.read_exact_at(bytes, self.begin + offset).map_err(|e| Error::io(&self.path, e))
    }
}

/// Makes sure that `wanted` bytes fit on the disk of temporary files, and some are left; `unpacked` were
/// written there before.
///
/// # Errors
/// An error of the machine: the disk is full.
pub(crate) fn check_room(path: &Path, unpacked: u64, wanted: u64) -> Result<()> {
    let folder = std::env::temp_dir();
    let disk = fs4::statvfs(&folder).map_err(|e| Error::io(&folder, e))?;
    let (free, spared) = (disk.available_space(), SPARED.min(disk.total_space() / SPARED_SHARE));
    if free >= wanted.saturating_add(spared) {
        return Ok(());
    }
    let text = format!(
        "disk full: {} MB of {} are unpacked here, {} MB are free; unpack it elsewhere, or set TMPDIR to a folder \
         on a larger disk",
        unpacked >> 20,
        path.display(),
        free >> 20
    );
    Err(Error::io(&folder, std::io::Error::new(std::io::ErrorKind::StorageFull, text)))
}

/// Sequential reading of a [`Blob`].
#[derive(Debug)]
pub(crate) struct BlobReader<'a> {
    blob: &'a Blob,
    position: u64,
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.blob.read_some(buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for BlobReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let target = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.blob.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_disk_holds_is_refused_as_the_machines_failure_and_small_things_fit() {
        assert!(check_room(Path::new("x.npz"), 0, 1000).is_ok());
        let refusal = check_room(Path::new("x.npz"), 5 << 20, u64::MAX).unwrap_err();
        let text = refusal.to_string();
        assert!(text.contains("disk full: 5 MB of x.npz") && text.contains("TMPDIR"), "{text}");
        assert_eq!(refusal.exit_code(), 1);
    }
}
