//! The bytes of a weight file, on disk or in memory.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::runtime::error::{Error, Result};
use crate::runtime::zips;

#[derive(Debug)]
enum Bytes {
    File(File),
    Memory(Cow<'static, [u8]>),
}

/// Bytes of a weight file with random access, and their name for messages.
#[derive(Debug)]
pub(crate) struct ByteSource {
    bytes: Bytes,
    length: u64,
    pub(crate) path: PathBuf,
}

impl ByteSource {
    /// Opens the file at `path`.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let about = file.metadata().map_err(|e| Error::io(path, e))?;
        if about.is_dir() {
            return Err(Error::file(path, "is a folder; name a file in it"));
        }
        Ok(Self::of_file(file, about.len(), path))
    }

    /// Takes the first `length` bytes of an open file.
    pub(crate) fn of_file(file: File, length: u64, path: &Path) -> Arc<Self> {
        Arc::new(Self { bytes: Bytes::File(file), length, path: path.to_owned() })
    }

    /// Takes bytes in memory. Messages name them `path`.
    pub(crate) fn in_memory(bytes: impl Into<Cow<'static, [u8]>>, path: &Path) -> Arc<Self> {
        let bytes = bytes.into();
        let length = bytes.len() as u64;
        Arc::new(Self { bytes: Bytes::Memory(bytes), length, path: path.to_owned() })
    }

    /// Returns the number of bytes.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Fills `bytes`, starting at `offset`.
    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        let mut section = self.section(offset, u64::MAX);
        section.read_exact(bytes).map_err(|e| match e.kind() {
            std::io::ErrorKind::UnexpectedEof => Error::file(&self.path, "is cut short; copy it again"),
            _ => Error::io(&self.path, e),
        })
    }

    /// Returns a reader of at most `length` bytes, starting at `begin`.
    pub(crate) fn section(&self, begin: u64, length: u64) -> Section<'_> {
        Section { source: self, at: begin, end: begin.saturating_add(length).min(self.length) }
    }
}

impl zips::Bytes for ByteSource {
    fn length(&self) -> u64 {
        self.length
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.read(bytes, offset)
    }
}

/// Reads a part of a [`ByteSource`] from start to end.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    source: &'a ByteSource,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = buffer.len().min(left);
        let Some(part) = buffer.get_mut(..wanted) else { return Ok(0) };
        let count = match &self.source.bytes {
            Bytes::File(file) => file.read_at(part, self.at)?,
            Bytes::Memory(bytes) => {
                let mut rest = bytes.get(self.at as usize..).unwrap_or_default();
                rest.read(part)?
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}
