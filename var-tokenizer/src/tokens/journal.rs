//! Blocks of rows with checksums, only ever appended: what a kill cannot spoil.
//!
//! Layout, little-endian: the magic, the length of the head (u32), the head (JSON of the token info), its
//! checksum; then blocks: payload length (u32), part (u8), rows (u32), position (u64), payload, checksum.
//! The payload is ids (u16 or u32), labels (u32), sources (u32), crops (u16). A checksum is the first 8
//! bytes of SHA-256 over all of the block before it. A block that is not whole ends the journal.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Rows, TokenInfo, slot};
use crate::error::{Error, Result};
use crate::files::open_locked;
use crate::images::Split;

const MAGIC: &[u8; 8] = b"VARTOK1\n";
const CHECKSUM: usize = 8;
/// Payload length, part, rows, position.
const BLOCK_HEAD: usize = 4 + 1 + 4 + 8;
/// Largest head or payload; longer lengths are damage.
const MAX_PART: u32 = 1 << 30;

/// A journal that this process alone writes.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    file: File,
    /// Where the next block goes.
    end: u64,
    /// Where the first block lies.
    begin: u64,
    /// Rows of each part.
    pub(super) rows: [usize; 2],
    /// The writer's own position after the last block.
    pub(super) position: u64,
}

/// A block as it is read back.
pub(super) struct Block {
    pub(super) split: Split,
    pub(super) rows: Rows,
}

impl Journal {
    /// Starts the journal at `path` anew.
    pub(super) fn create(path: &Path, info: &TokenInfo) -> Result<Self> {
        let file = open_locked(path)?;
        Self::start(path, file, info)
    }

    /// Goes on with the journal at `path`, or starts it when there is none.
    ///
    /// # Errors
    /// When it was begun with another `info`, or is damaged at its head, or another process writes it.
    pub(super) fn resume(path: &Path, info: &TokenInfo) -> Result<Self> {
        let mut file = open_locked(path)?;
        let io = |e: std::io::Error| Error::io(path, e);
        let length = file.metadata().map_err(io)?.len();
        file.seek(SeekFrom::Start(0)).map_err(io)?;
        let mut reader = BufReader::new(&file);
        let Some((found, begin)) = read_head(path, &mut reader)? else {
            // Killed before the head was whole: nothing can be behind it.
            return Self::start(path, file, info);
        };
        if let Some(difference) = difference(&found, info) {
            return Err(Error::file(
                path,
                format!(
                    "was begun with other settings ({difference}); use the same, or delete it to start anew"
                ),
            ));
        }
        let mut journal = Self { path: path.to_owned(), file, begin, end: begin, rows: [0; 2], position: 0 };
        let mut blocks = journal.blocks(info)?;
        let (mut rows, mut position, mut end) = ([0; 2], 0, begin);
        while let Some((block, after)) = blocks.next_block()? {
            rows[slot(block.split)] += block.rows.len();
            (position, end) = (after, blocks.at);
        }
        (journal.rows, journal.position, journal.end) = (rows, position, end);
        if end < length {
            journal.file.set_len(end).map_err(io)?;
        }
        Ok(journal)
    }

    fn start(path: &Path, mut file: File, info: &TokenInfo) -> Result<Self> {
        let json = serde_json::to_vec(info).map_err(|e| Error::file(path, e.to_string()))?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&(json.len() as u32).to_le_bytes());
        head.extend_from_slice(&json);
        let sum = checksum(&head);
        head.extend_from_slice(&sum);
        file.set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| file.write_all(&head))
            .and_then(|()| file.sync_all())
            .map_err(|e| Error::io(path, e))?;
        let begin = head.len() as u64;
        Ok(Self { path: path.to_owned(), file, begin, end: begin, rows: [0; 2], position: 0 })
    }

    /// Appends rows that were checked before. When the disk is full the journal is as it was.
    pub(super) fn append(
        &mut self,
        info: &TokenInfo,
        split: Split,
        rows: &Rows,
        position: u64,
    ) -> Result<()> {
        let payload = rows.len() * (info.row_bytes() + 4 + 4 + 2);
        let length = u32::try_from(payload).ok().filter(|&length| length <= MAX_PART);
        let length = length.ok_or_else(|| Error::Config("too many rows in one go".into()))?;
        let mut block = Vec::with_capacity(BLOCK_HEAD + payload + CHECKSUM);
        block.extend_from_slice(&length.to_le_bytes());
        block.push(slot(split) as u8);
        block.extend_from_slice(&(rows.len() as u32).to_le_bytes());
        block.extend_from_slice(&position.to_le_bytes());
        if info.narrow() {
            block.extend(rows.tokens.iter().flat_map(|&id| (id as u16).to_le_bytes()));
        } else {
            block.extend(rows.tokens.iter().flat_map(|id| id.to_le_bytes()));
        }
        block.extend(rows.labels.iter().flat_map(|x| x.to_le_bytes()));
        block.extend(rows.sources.iter().flat_map(|x| x.to_le_bytes()));
        block.extend(rows.crops.iter().flat_map(|x| x.to_le_bytes()));
        let sum = checksum(&block);
        block.extend_from_slice(&sum);
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&block));
        if let Err(e) = written {
            // Best effort: a torn block would be dropped on resuming anyway.
            let _ = self.file.set_len(self.end);
            return Err(Error::io(&self.path, e));
        }
        self.end += block.len() as u64;
        self.rows[slot(split)] += rows.len();
        self.position = position;
        Ok(())
    }

    /// Forces what was appended onto the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io(&self.path, e))
    }

    /// All whole blocks from the first on.
    pub(super) fn blocks<'a>(&'a self, info: &'a TokenInfo) -> Result<Blocks<'a>> {
        let mut reader = BufReader::with_capacity(1 << 20, &self.file);
        reader.seek(SeekFrom::Start(self.begin)).map_err(|e| Error::io(&self.path, e))?;
        let length = self.file.metadata().map_err(|e| Error::io(&self.path, e))?.len();
        Ok(Blocks { path: &self.path, reader, info, at: self.begin, length })
    }

    /// Deletes the journal; its rows are safe elsewhere.
    pub(super) fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path).map_err(|e| Error::io(&self.path, e))
    }
}

/// Reads a journal block by block.
pub(super) struct Blocks<'a> {
    path: &'a Path,
    reader: BufReader<&'a File>,
    info: &'a TokenInfo,
    /// Where the next block begins.
    at: u64,
    /// Size of the file.
    length: u64,
}

impl Blocks<'_> {
    /// The next whole block and the position after it; `None` at the end or before a torn block.
    pub(super) fn next_block(&mut self) -> Result<Option<(Block, u64)>> {
        let mut block = vec![0; BLOCK_HEAD];
        if !fill(self.path, &mut self.reader, &mut block)? {
            return Ok(None);
        }
        let mut head = Fields(&block);
        let (length, part, count, position) = (head.u32(), head.u8(), head.u32() as usize, head.u64());
        let per_row = self.info.row_bytes() + 4 + 4 + 2;
        if length > MAX_PART || part > 1 || count.checked_mul(per_row) != Some(length as usize) {
            return Ok(None);
        }
        // Before memory is taken for it.
        let end = self.at + (BLOCK_HEAD + length as usize + CHECKSUM) as u64;
        if end > self.length {
            return Ok(None);
        }
        block.resize(BLOCK_HEAD + length as usize, 0);
        let mut sum = [0; CHECKSUM];
        let whole = fill(self.path, &mut self.reader, block.get_mut(BLOCK_HEAD..).unwrap_or_default())?
            && fill(self.path, &mut self.reader, &mut sum)?;
        if !whole || sum != checksum(&block) {
            return Ok(None);
        }
        let mut fields = Fields(block.get(BLOCK_HEAD..).unwrap_or_default());
        let ids = count * self.info.length();
        let tokens = if self.info.narrow() {
            (0..ids).map(|_| u32::from(fields.u16())).collect()
        } else {
            (0..ids).map(|_| fields.u32()).collect()
        };
        let labels = (0..count).map(|_| fields.u32()).collect();
        let sources = (0..count).map(|_| fields.u32()).collect();
        let crops = (0..count).map(|_| fields.u16()).collect();
        self.at = end;
        let split = if part == 0 { Split::Train } else { Split::Val };
        Ok(Some((Block { split, rows: Rows { tokens, labels, sources, crops } }, position)))
    }
}

/// Little-endian numbers from the front of a slice; zeros past its end.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => [0; N],
        }
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

/// The token info of a journal and where its blocks begin; `None` when the head is not whole.
fn read_head(path: &Path, reader: &mut impl Read) -> Result<Option<(TokenInfo, u64)>> {
    let mut head = vec![0; MAGIC.len() + 4];
    if !fill(path, reader, &mut head)? {
        return Ok(None);
    }
    if !head.starts_with(MAGIC) {
        return Err(Error::file(path, "not a journal of tokens; delete it or choose another output"));
    }
    let length = Fields(head.get(MAGIC.len()..).unwrap_or_default()).u32();
    let damaged = || Error::file(path, "damaged at its head; delete it to start anew");
    if length > MAX_PART {
        return Err(damaged());
    }
    let mut json = Vec::new();
    reader.take(u64::from(length)).read_to_end(&mut json).map_err(|e| Error::io(path, e))?;
    let mut sum = [0; CHECKSUM];
    if json.len() < length as usize || !fill(path, reader, &mut sum)? {
        return Ok(None);
    }
    head.extend_from_slice(&json);
    let info = serde_json::from_slice::<TokenInfo>(&json).ok().filter(|_| sum == checksum(&head));
    let info = info.filter(|info| info.check().is_ok()).ok_or_else(damaged)?;
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

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::digest(bytes);
    digest.first_chunk::<CHECKSUM>().copied().unwrap_or_default()
}

/// The first field in which two infos differ, in words.
fn difference(found: &TokenInfo, wanted: &TokenInfo) -> Option<String> {
    let (Ok(found), Ok(wanted)) = (serde_json::to_value(found), serde_json::to_value(wanted)) else {
        return Some("unreadable".into());
    };
    let (found, wanted) = (found.as_object()?, wanted.as_object()?);
    if found.get("pictures_sha256") != wanted.get("pictures_sha256") {
        return Some("other pictures, views or limits".into());
    }
    let (key, value) = wanted.iter().find(|(key, value)| found.get(*key) != Some(*value))?;
    let shown = |value: &serde_json::Value| {
        let text = value.to_string();
        if text.len() > 80 { "…".to_owned() } else { text }
    };
    Some(format!(
        "{key}: {} before, {} now",
        found.get(key).map_or_else(|| "none".into(), shown),
        shown(value)
    ))
}
