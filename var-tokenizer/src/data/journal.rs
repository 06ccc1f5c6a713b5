//! Blocks with checksums in one file, only ever appended: what a kill cannot spoil.
//!
//! Layout, little-endian: 8 bytes that say what is journalled, the length of the head (u32), the head (JSON), its
//! checksum; then blocks: bytes that say how long the block is, its payload, its checksum. A checksum is the
//! first 8 bytes of SHA-256 over all of the head or block before it. A block that is not whole ends the journal.
//! What blocks hold is the caller's business ([`crate::data::tokens`] keeps rows of tokens in them).

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::runtime::error::{Error, Result};
use crate::runtime::files::open_locked;
use crate::runtime::locks::Lock;

const CHECKSUM: usize = 8;
/// Largest head or block; longer lengths are damage.
pub(crate) const MAX_PART: usize = 1 << 31;

/// What is journalled.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// First bytes of the file.
    pub magic: &'static [u8; 8],
    /// What its rows are, for messages.
    pub what: &'static str,
}

/// A journal that this process alone writes.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Held until the journal is closed; nothing is held of one that is only looked at.
    _lock: Option<Lock>,
    /// Where the first block lies.
    begin: u64,
    /// Where the next block goes.
    end: u64,
}

impl Journal {
    /// Starts a new journal at `path`.
    ///
    /// # Errors
    /// When another process writes it, or the disk refuses.
    pub fn create(path: &Path, kind: Kind, head: &[u8]) -> Result<Self> {
        let (file, lock) = open_locked(path)?;
        Self::start(path, file, lock, kind, head)
    }

    /// Resumes the journal at `path`, or starts it when it is missing. `same` checks the head of the file. The caller
    /// then reads the [`blocks`](Self::blocks), and drops the rest after the last complete one with
    /// [`keep`](Self::keep).
    ///
    /// # Errors
    /// What `same` returns; when the head is damaged or another process writes the journal.
    pub fn resume(
        path: &Path,
        kind: Kind,
        head: &[u8],
        same: impl FnOnce(&[u8]) -> Result<()>,
    ) -> Result<Self> {
        let (mut file, lock) = open_locked(path)?;
        file.seek(SeekFrom::Start(0)).map_err(|e| Error::io(path, e))?;
        let Some((found, begin)) = read_head(path, kind, &mut BufReader::new(&file))? else {
            // Killed before the head was whole: nothing can be behind it.
            return Self::start(path, file, lock, kind, head);
        };
        same(&found)?;
        Ok(Self { path: path.to_owned(), file, _lock: Some(lock), begin, end: begin })
    }

    /// The head and the blocks of the journal at `path`, without a change to it; `None` when its head is not whole.
    ///
    /// # Errors
    /// When it cannot be read, is of another kind, or its head is damaged.
    pub fn look(path: &Path, kind: Kind) -> Result<Option<(Vec<u8>, Self)>> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let Some((head, begin)) = read_head(path, kind, &mut BufReader::new(&file))? else { return Ok(None) };
        Ok(Some((head, Self { path: path.to_owned(), file, _lock: None, begin, end: begin })))
    }

    fn start(path: &Path, mut file: File, lock: Lock, kind: Kind, json: &[u8]) -> Result<Self> {
        let mut head = kind.magic.to_vec();
        head.extend_from_slice(&(json.len() as u32).to_le_bytes());
        head.extend_from_slice(json);
        let sum = checksum(&head);
        head.extend_from_slice(&sum);
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(&head))
            .and_then(|()| file.sync_all())
            .map_err(|e| Error::io(path, e))?;
        let begin = head.len() as u64;
        Ok(Self { path: path.to_owned(), file, _lock: Some(lock), begin, end: begin })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends a block, to which the checksum is added. When the disk is full the journal is as it was.
    ///
    /// # Errors
    /// When the block is larger than [`MAX_PART`], or the disk refuses.
    pub fn append(&mut self, mut block: Vec<u8>) -> Result<()> {
        if block.len() > MAX_PART {
            return Err(Error::Config("too many rows at once; use a smaller batch".into()));
        }
        let sum = checksum(&block);
        block.extend_from_slice(&sum);
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&block));
        if let Err(e) = written {
            // Best effort: a torn block would be dropped on resuming anyway.
            let _ = self.file.set_len(self.end);
            return Err(Error::io(&self.path, e));
        }
        self.end += block.len() as u64;
        Ok(())
    }

    /// Goes on behind `end`, where [`Blocks::at`] was after the last whole block.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(&mut self, end: u64) -> Result<()> {
        self.end = end;
        self.file.set_len(end).map_err(|e| Error::io(&self.path, e))
    }

    /// Forces what was appended onto the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io(&self.path, e))
    }

    /// All whole blocks from the first on.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn blocks(&self) -> Result<Blocks<'_>> {
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        reader.seek(SeekFrom::Start(self.begin)).map_err(|e| Error::io(&self.path, e))?;
        let length = self.file.metadata().map_err(|e| Error::io(&self.path, e))?.len();
        Ok(Blocks { path: &self.path, reader, at: self.begin, length })
    }

    /// Deletes the journal; its rows are safe elsewhere.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|e| Error::io(&self.path, e))
    }
}

/// Reads a journal block by block.
#[derive(Debug)]
pub struct Blocks<'a> {
    path: &'a Path,
    reader: BufReader<&'a File>,
    at: u64,
    /// Size of the file.
    length: u64,
}

impl Blocks<'_> {
    /// Where the next block begins.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The next whole block without its checksum; `None` at the end or before a torn one. Its first `head` bytes
    /// are handed to `payload`, which says how many follow, or `None` for a block that cannot be.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn next_block(
        &mut self,
        head: usize,
        payload: impl FnOnce(Fields<'_>) -> Option<usize>,
    ) -> Result<Option<Vec<u8>>> {
        let mut block = vec![0; head];
        if !fill(self.path, &mut self.reader, &mut block)? {
            return Ok(None);
        }
        let Some(payload) = payload(Fields(&block)).filter(|&payload| payload <= MAX_PART) else {
            return Ok(None);
        };
        // Before memory is taken for it.
        let end = self.at + (head + payload + CHECKSUM) as u64;
        if end > self.length {
            return Ok(None);
        }
        block.resize(head + payload, 0);
        let mut sum = [0; CHECKSUM];
        let whole = fill(self.path, &mut self.reader, block.get_mut(head..).unwrap_or_default())?
            && fill(self.path, &mut self.reader, &mut sum)?;
        if !whole || sum != checksum(&block) {
            return Ok(None);
        }
        self.at = end;
        Ok(Some(block))
    }
}

/// Little-endian numbers from the front of a slice; zeros, or nothing, past its end.
#[derive(Debug)]
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// The next `count` bytes, or as many as there are.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (first, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        first
    }

    /// The next `count` numbers of `N` bytes.
    pub fn numbers<T, const N: usize>(&mut self, count: usize, number: fn([u8; N]) -> T) -> Vec<T> {
        self.bytes(N.saturating_mul(count)).as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
    }

    /// The next byte.
    pub(crate) fn u8(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    /// The next 4 bytes.
    pub fn u32(&mut self) -> u32 {
        self.bytes(4).first_chunk().copied().map_or(0, u32::from_le_bytes)
    }

    /// The next 8 bytes.
    pub fn u64(&mut self) -> u64 {
        self.bytes(8).first_chunk().copied().map_or(0, u64::from_le_bytes)
    }
}

/// The head of a journal and where its blocks begin; `None` when the head is not whole.
fn read_head(path: &Path, kind: Kind, reader: &mut impl Read) -> Result<Option<(Vec<u8>, u64)>> {
    let mut head = vec![0; kind.magic.len() + 4];
    if !fill(path, reader, &mut head)? {
        return Ok(None);
    }
    if !head.starts_with(kind.magic) {
        let message = format!("not a journal of {}; delete it or choose another output", kind.what);
        return Err(Error::file(path, message));
    }
    let length = Fields(head.get(kind.magic.len()..).unwrap_or_default()).u32();
    let damaged = || Error::file(path, "damaged at its head; delete it to start anew");
    if length as usize > MAX_PART {
        return Err(damaged());
    }
    let mut json = Vec::new();
    reader.take(u64::from(length)).read_to_end(&mut json).map_err(|e| Error::io(path, e))?;
    let mut sum = [0; CHECKSUM];
    if json.len() < length as usize || !fill(path, reader, &mut sum)? {
        return Ok(None);
    }
    head.extend_from_slice(&json);
    if sum != checksum(&head) {
        return Err(damaged());
    }
    Ok(Some((json, (head.len() + CHECKSUM) as u64)))
}

/// Fills `buffer`; false when the file ends before.
fn fill(path: &Path, reader: &mut impl Read, buffer: &mut [u8]) -> Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(Error::io(path, e)),
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    Sha256::digest(bytes).first_chunk::<CHECKSUM>().copied().unwrap_or_default()
}
