//! Blocks of rows with checksums, only ever appended: what a kill cannot spoil.
//!
//! Layout, little-endian: the magic, the length of the head (u32), the head (JSON of the info), its checksum;
//! then blocks: rows (u32), length of the list of bad pictures (u32), position (u64), features, logits, spatial
//! features (f32), labels, indices, sizes (u32), digests (16 bytes), the list of bad pictures (JSON), checksum.
//! A checksum is the first 8 bytes of SHA-256 over all of the block before it. A block that is not whole ends
//! the journal.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use var_tokenizer::files::open_locked;
use var_tokenizer::images::Bad;

use super::{DIGEST, Progress, Rows, StoreInfo};
use crate::error::{Error, Result};

const MAGIC: &[u8; 8] = b"VARFEA1\n";
const CHECKSUM: usize = 8;
/// Rows, length of the list of bad pictures, position.
const BLOCK_HEAD: usize = 4 + 4 + 8;
/// Largest head or block; longer lengths are damage.
const MAX_PART: u64 = 1 << 31;

/// A journal that this process alone writes.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Where the first block lies.
    begin: u64,
    /// Where the next block goes.
    end: u64,
    pub(super) progress: Progress,
}

/// A block as it is read back.
pub(super) struct Block {
    pub(super) rows: Rows,
    position: u64,
    bad: Vec<Bad>,
}

impl Journal {
    /// Starts the journal at `path` anew.
    pub(super) fn create(path: &Path, info: &StoreInfo) -> Result<Self> {
        let file = open_locked(path)?;
        Self::start(path, file, info)
    }

    /// Goes on with the journal at `path`, or starts it when there is none.
    ///
    /// # Errors
    /// When it was begun with another `info`, is damaged at its head, or another process writes it.
    pub(super) fn resume(path: &Path, info: &StoreInfo) -> Result<Self> {
        let mut file = open_locked(path)?;
        let io = |e: std::io::Error| Error::io(path, e);
        let length = file.metadata().map_err(io)?.len();
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        let Some((found, begin)) = read_head(path, &mut BufReader::new(&file))? else {
            // Killed before the head was whole: nothing can be behind it.
            return Self::start(path, file, info);
        };
        if let Some(difference) = found.difference(info) {
            let message = format!("was begun with {difference}; use the same, or delete it to start anew");
            return Err(Error::file(path, message));
        }
        let mut journal =
            Self { path: path.to_owned(), file, begin, end: begin, progress: Progress::default() };
        let mut progress = Progress::default();
        let mut blocks = journal.blocks(info)?;
        let mut end = begin;
        while let Some(block) = blocks.next_block()? {
            note(&mut progress, &block.rows, block.position, block.bad);
            end = blocks.at;
        }
        (journal.progress, journal.end) = (progress, end);
        if end < length {
            journal.file.set_len(end).map_err(io)?;
        }
        Ok(journal)
    }

    fn start(path: &Path, mut file: File, info: &StoreInfo) -> Result<Self> {
        let json = to_json(path, info)?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&(json.len() as u32).to_le_bytes());
        head.extend_from_slice(&json);
        head.extend_from_slice(&checksum(&head));
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(&head))
            .and_then(|()| file.sync_all())
            .map_err(|e| Error::io(path, e))?;
        let begin = head.len() as u64;
        Ok(Self { path: path.to_owned(), file, begin, end: begin, progress: Progress::default() })
    }

    /// Appends rows that were checked before. When the disk is full the journal is as it was.
    pub(super) fn append(&mut self, rows: &Rows, position: u64, bad: &[Bad]) -> Result<()> {
        let bad_list: Vec<(usize, &str, &str)> =
            bad.iter().map(|bad| (bad.index, bad.name.as_str(), bad.reason.as_str())).collect();
        let list = if bad.is_empty() { Vec::new() } else { to_json(&self.path, &bad_list)? };
        let mut block = Vec::new();
        block.extend_from_slice(&(rows.len() as u32).to_le_bytes());
        block.extend_from_slice(&(list.len() as u32).to_le_bytes());
        block.extend_from_slice(&position.to_le_bytes());
        for values in [&rows.features, &rows.logits, &rows.spatial] {
            block.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        }
        for values in [&rows.labels, &rows.indices, &rows.sizes] {
            block.extend(values.iter().flat_map(|x| x.to_le_bytes()));
        }
        block.extend_from_slice(&rows.digests);
        block.extend_from_slice(&list);
        if block.len() as u64 > MAX_PART {
            return Err(Error::config("too many pictures in one go; choose a smaller --batch"));
        }
        block.extend_from_slice(&checksum(&block));
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&block));
        if let Err(e) = written {
            // Best effort: a torn block would be dropped on resuming anyway.
            let _ = self.file.set_len(self.end);
            return Err(Error::io(&self.path, e));
        }
        self.end += block.len() as u64;
        note(&mut self.progress, rows, position, bad.to_vec());
        Ok(())
    }

    /// Forces what was appended onto the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io(&self.path, e))
    }

    /// All whole blocks from the first on.
    pub(super) fn blocks<'a>(&'a self, info: &'a StoreInfo) -> Result<Blocks<'a>> {
        let io = |e: std::io::Error| Error::io(&self.path, e);
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        reader.seek(SeekFrom::Start(self.begin)).map_err(io)?;
        let length = self.file.metadata().map_err(io)?.len();
        Ok(Blocks { path: &self.path, reader, info, at: self.begin, length })
    }

    /// Deletes the journal; its rows are safe elsewhere.
    pub(super) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|e| Error::io(&self.path, e))
    }
}

/// Takes a block into account.
fn note(progress: &mut Progress, rows: &Rows, position: u64, bad: Vec<Bad>) {
    progress.rows += rows.len();
    progress.position = position;
    progress.bad.extend(bad);
    if let (Some(digest), Some(&index)) = (rows.digests.last_chunk::<DIGEST>(), rows.indices.last()) {
        progress.last = Some((*digest, index));
    }
}

/// Reads a journal block by block.
pub(super) struct Blocks<'a> {
    path: &'a Path,
    reader: BufReader<&'a File>,
    info: &'a StoreInfo,
    /// Where the next block begins.
    at: u64,
    /// Size of the file.
    length: u64,
}

impl Blocks<'_> {
    /// The next whole block; `None` at the end or before a torn one.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>> {
        let mut block = vec![0; BLOCK_HEAD];
        if !fill(self.path, &mut self.reader, &mut block)? {
            return Ok(None);
        }
        let mut head = Fields(&block);
        let (count, list, position) = (head.u32() as usize, head.u32() as usize, head.u64());
        let Some(payload) = count.checked_mul(self.info.row_bytes()).and_then(|rows| rows.checked_add(list))
        else {
            return Ok(None);
        };
        let end = self.at.saturating_add((BLOCK_HEAD + CHECKSUM) as u64).saturating_add(payload as u64);
        // Before memory is taken for it.
        if payload as u64 > MAX_PART || end > self.length {
            return Ok(None);
        }
        block.resize(BLOCK_HEAD + payload, 0);
        let mut sum = [0; CHECKSUM];
        let whole = fill(self.path, &mut self.reader, block.get_mut(BLOCK_HEAD..).unwrap_or_default())?
            && fill(self.path, &mut self.reader, &mut sum)?;
        if !whole || sum != checksum(&block) {
            return Ok(None);
        }
        let network = &self.info.network;
        let mut fields = Fields(block.get(BLOCK_HEAD..).unwrap_or_default());
        let rows = Rows {
            features: fields.floats(count * network.width),
            logits: fields.floats(count * network.classes),
            spatial: fields.floats(count * network.spatial),
            labels: fields.words(count),
            indices: fields.words(count),
            sizes: fields.words(2 * count),
            digests: fields.bytes(DIGEST * count).to_vec(),
        };
        let list = fields.bytes(list);
        let bad: Vec<(usize, String, String)> =
            if list.is_empty() { Vec::new() } else { serde_json::from_slice(list).unwrap_or_default() };
        let bad = bad.into_iter().map(|(index, name, reason)| Bad { index, name, reason }).collect();
        self.at = end;
        Ok(Some(Block { rows, position, bad }))
    }
}

/// Little-endian numbers from the front of a slice; nothing past its end.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (first, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        first
    }

    fn u32(&mut self) -> u32 {
        self.words(1).first().copied().unwrap_or(0)
    }

    fn u64(&mut self) -> u64 {
        self.bytes(8).first_chunk().copied().map_or(0, u64::from_le_bytes)
    }

    fn words(&mut self, count: usize) -> Vec<u32> {
        self.bytes(4 * count).as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
    }

    fn floats(&mut self, count: usize) -> Vec<f32> {
        self.bytes(4 * count).as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }
}

/// The info of a journal and where its blocks begin; `None` when the head is not whole.
fn read_head(path: &Path, reader: &mut impl Read) -> Result<Option<(StoreInfo, u64)>> {
    let mut head = vec![0; MAGIC.len() + 4];
    if !fill(path, reader, &mut head)? {
        return Ok(None);
    }
    if !head.starts_with(MAGIC) {
        return Err(Error::file(path, "not a journal of features; delete it or choose another output"));
    }
    let length = u64::from(Fields(head.get(MAGIC.len()..).unwrap_or_default()).u32());
    let mut json = Vec::new();
    reader.take(length).read_to_end(&mut json).map_err(|e| Error::io(path, e))?;
    let mut sum = [0; CHECKSUM];
    if (json.len() as u64) < length || !fill(path, reader, &mut sum)? {
        return Ok(None);
    }
    head.extend_from_slice(&json);
    let info = serde_json::from_slice::<StoreInfo>(&json).ok().filter(|_| sum == checksum(&head));
    let info = info
        .filter(|info| info.check().is_ok())
        .ok_or_else(|| Error::file(path, "damaged at its head; delete it to start anew"))?;
    Ok(Some((info, (head.len() + CHECKSUM) as u64)))
}

/// Fills `buffer`; false when the file ends before.
fn fill(path: &Path, reader: &mut impl Read, buffer: &mut [u8]) -> Result<bool> {
    match reader.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(e) => Err(Error::io(path, e)),
    }
}

fn to_json(path: &Path, value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::file(path, e.to_string()))
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    Sha256::digest(bytes).first_chunk::<CHECKSUM>().copied().unwrap_or_default()
}
