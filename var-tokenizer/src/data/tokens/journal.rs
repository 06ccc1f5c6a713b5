//! The journal of a token file: rows of one part in each block.
//!
//! A block: payload length (u32), part (u8), rows (u32), position (u64); the payload is ids (u16 or u32), labels
//! (u32), sources (u32), crops (u16). The head is the JSON of the token info.

use std::path::Path;

use super::{Rows, START_OVER, TokenInfo, difference, slot};
use crate::data::images::Split;
use crate::data::journal::{self, Fields, Kind};
use crate::runtime::error::{Error, Result};

/// First bytes of a journal of tokens.
pub(super) const MAGIC: &[u8; 8] = b"VARTOK1\n";
const KIND: Kind = Kind { magic: MAGIC, what: "tokens" };
/// Payload length, part, rows, position.
const BLOCK_HEAD: usize = 4 + 1 + 4 + 8;
/// Bytes of a row without its ids.
const BESIDE_IDS: usize = 4 + 4 + 2;

/// A journal that only this process writes, and its counts.
#[derive(Debug)]
pub(super) struct Journal {
    blocks: journal::Journal,
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
    /// Starts a new journal at `path`.
    pub(super) fn create(path: &Path, info: &TokenInfo) -> Result<Self> {
        let blocks = journal::Journal::create(path, KIND, &head(path, info)?)?;
        Ok(Self { blocks, rows: [0; 2], position: 0 })
    }

    /// Resumes the journal at `path`, or starts it when it is missing.
    ///
    /// # Errors
    /// When it was started with another `info`, its start is damaged, or another process writes it.
    pub(super) fn resume(path: &Path, info: &TokenInfo) -> Result<Self> {
        let blocks = journal::Journal::resume(path, KIND, &head(path, info)?, |found| {
            let found = serde_json::from_slice::<TokenInfo>(found).ok().filter(|found| found.check().is_ok());
            let found =
                found.ok_or_else(|| Error::file(path, format!("damaged at its start; {START_OVER}")))?;
            words(&found, info).map_or(Ok(()), |difference| {
                let message = format!(
                    "started with different settings ({difference}). Use the same settings to resume, or {START_OVER}"
                );
                Err(Error::file(path, message))
            })
        })?;
        let mut journal = Self { blocks, rows: [0; 2], position: 0 };
        let mut whole = journal.blocks(info)?;
        let (mut rows, mut position) = ([0; 2], 0);
        while let Some((block, after)) = whole.next_block()? {
            rows[slot(block.split)] += block.rows.len();
            position = after;
        }
        let end = whole.blocks.at();
        journal.blocks.keep(end)?;
        (journal.rows, journal.position) = (rows, position);
        Ok(journal)
    }

    /// Appends rows that were checked before. When the disk is full the journal is as it was.
    pub(super) fn append(
        &mut self,
        info: &TokenInfo,
        split: Split,
        rows: &Rows,
        position: u64,
    ) -> Result<()> {
        let payload = rows.len() * (info.row_bytes() + BESIDE_IDS);
        let length = u32::try_from(payload).map_err(|_| Error::Config("too many rows in one go".into()))?;
        let mut block = Vec::with_capacity(BLOCK_HEAD + payload + 8);
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
        self.blocks.append(block)?;
        self.rows[slot(split)] += rows.len();
        self.position = position;
        Ok(())
    }

    /// Forces what was appended onto the disk.
    pub(super) fn sync(&self) -> Result<()> {
        self.blocks.sync()
    }

    /// All whole blocks from the first on.
    pub(super) fn blocks<'a>(&'a self, info: &'a TokenInfo) -> Result<Blocks<'a>> {
        Ok(Blocks { blocks: self.blocks.blocks()?, info })
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self, info: &TokenInfo) -> Result<()> {
        let begin = self.blocks(info)?.blocks.at();
        self.blocks.keep(begin)?;
        (self.rows, self.position) = ([0; 2], 0);
        Ok(())
    }

    /// Deletes the journal; its rows are safe elsewhere.
    pub(super) fn remove(self) -> Result<()> {
        self.blocks.remove()
    }
}

/// Reads a journal block by block.
pub(super) struct Blocks<'a> {
    blocks: journal::Blocks<'a>,
    info: &'a TokenInfo,
}

impl Blocks<'_> {
    /// The next whole block and the position after it; `None` at the end or before a torn block.
    pub(super) fn next_block(&mut self) -> Result<Option<(Block, u64)>> {
        let per_row = self.info.row_bytes() + BESIDE_IDS;
        let block = self.blocks.next_block(BLOCK_HEAD, |mut head| {
            let (length, part, count) = (head.u32() as usize, head.u8(), head.u32() as usize);
            (part <= 1 && count.checked_mul(per_row) == Some(length)).then_some(length)
        })?;
        let Some(block) = block else { return Ok(None) };
        let mut fields = Fields(&block);
        let (_, part, count, position) = (fields.u32(), fields.u8(), fields.u32() as usize, fields.u64());
        let ids = count * self.info.length();
        let tokens = if self.info.narrow() {
            fields.numbers(ids, |bytes| u32::from(u16::from_le_bytes(bytes)))
        } else {
            fields.numbers(ids, u32::from_le_bytes)
        };
        let rows = Rows {
            tokens,
            labels: fields.numbers(count, u32::from_le_bytes),
            sources: fields.numbers(count, u32::from_le_bytes),
            crops: fields.numbers(count, u16::from_le_bytes),
        };
        let split = if part == 0 { Split::Train } else { Split::Val };
        Ok(Some((Block { split, rows }, position)))
    }
}

fn head(path: &Path, info: &TokenInfo) -> Result<Vec<u8>> {
    serde_json::to_vec(info).map_err(|e| Error::file(path, e.to_string()))
}

/// What differs between two infos, in words.
fn words(found: &TokenInfo, wanted: &TokenInfo) -> Option<String> {
    if found.pictures_sha256 != wanted.pictures_sha256 {
        return Some("other images, views or limits".into());
    }
    let (key, before, now) = difference(found, wanted)?;
    Some(format!("{key}: {before} before, {now} now"))
}
