//! A file that many threads read at random places, unpacked to a nameless temporary file when needed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};

/// Bytes on disk with random access; reads do not move a shared position.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    file: Arc<File>,
    path: PathBuf,
    begin: u64,
    length: u64,
}

impl Blob {
    /// The file at `path`, unpacked first when it is gzip.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let mut file = File::open(path).map_err(|e| Error::io(path, e))?;
        let mut magic = [0; 2];
        let found = file.read_exact_at(&mut magic, 0).is_ok().then_some(magic);
        if found == Some([0x1f, 0x8b]) {
            file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(path, e))?;
            let unpacker = flate2::read::MultiGzDecoder::new(std::io::BufReader::new(file));
            return Self::unpack(path, unpacker, "gzip");
        }
        let length = file.metadata().map_err(|e| Error::io(path, e))?.len();
        Ok(Self { file: Arc::new(file), path: path.to_owned(), begin: 0, length })
    }

    /// All that `reader` gives, copied to a temporary file that vanishes with this value.
    pub(crate) fn unpack(path: &Path, mut reader: impl Read, kind: &str) -> Result<Self> {
        let mut file = tempfile::tempfile().map_err(|e| Error::io(std::env::temp_dir(), e))?;
        let mut buffer = vec![0; 1 << 20];
        let mut length = 0;
        loop {
            let count = reader
                .read(&mut buffer)
                .map_err(|e| Error::file(path, format!("truncated or damaged {kind} data: {e}")))?;
            let Some(part) = buffer.get(..count).filter(|part| !part.is_empty()) else { break };
            std::io::Write::write_all(&mut file, part).map_err(|e| Error::io(std::env::temp_dir(), e))?;
            length += count as u64;
        }
        Ok(Self { file: Arc::new(file), path: path.to_owned(), begin: 0, length })
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
        self.file.read_exact_at(&mut bytes, self.begin + offset).map_err(|e| Error::io(&self.path, e))?;
        Ok(bytes)
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

/// Sequential reading of a [`Blob`].
#[derive(Debug)]
pub(crate) struct BlobReader<'a> {
    blob: &'a Blob,
    position: u64,
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = self.blob.length.saturating_sub(self.position);
        let count = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(part) = buffer.get_mut(..count) else { return Ok(0) };
        let count = self.blob.file.read_at(part, self.blob.begin + self.position)?;
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
