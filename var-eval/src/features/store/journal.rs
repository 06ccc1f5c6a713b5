//! The journal of a file of features.
//!
//! A block: rows (u32), length of the list of bad images (u32), position (u64); the payload is features, logits,
//! spatial features (f32), labels, indices, sizes (u32), digests (16 bytes), traits (u8), the list of bad images (JSON). The
//! head is the JSON of the info.

use std::path::Path;

use var_tokenizer::images::Bad;
use var_tokenizer::journal::{self, Fields, Kind};

use super::{DIGEST, Rows, StoreInfo, StoreProgress};
use crate::error::{Error, Result};

/// The first bytes of each version of the journal.
pub const MARK: &[u8] = b"VARFEA";
const KIND: Kind = Kind { magic: b"VARFEA2\n", what: "features of this version" };
/// Rows, length of the list of bad images, position.
const BLOCK_HEAD: usize = 4 + 4 + 8;

/// A journal that only this process writes, and its progress.
#[derive(Debug)]
pub(super) struct Journal {
    blocks: journal::Journal,
    pub(super) progress: StoreProgress,
}

/// A block that was read.
pub(super) struct Block {
    pub(super) rows: Rows,
    position: u64,
    bad: Vec<Bad>,
}

impl Journal {
    /// Starts a new journal at `path`.
    pub(super) fn create(path: &Path, info: &StoreInfo) -> Result<Self> {
        let blocks = journal::Journal::create(path, KIND, &to_json(path, info)?)?;
        Ok(Self { blocks, progress: StoreProgress::default() })
    }

    /// Continues the journal at `path`, or starts it.
    ///
    /// # Errors
    /// When it was started with another `info`, is damaged at its start, or another process is writing it.
    pub(super) fn resume(path: &Path, info: &StoreInfo) -> Result<Self> {
        let blocks = journal::Journal::resume(path, KIND, &to_json(path, info)?, |found| {
            let found = serde_json::from_slice::<StoreInfo>(found).ok().filter(|found| found.check().is_ok());
            let message = match found.map(|found| found.difference(info)) {
                None => "is damaged at its start; start over with the restart option".to_owned(),
                Some(Some(difference)) => {
                    format!(
                        "was started with {difference}; use the same settings, or start over with the restart option"
                    )
                }
                Some(None) => return Ok(()),
            };
            Err(var_tokenizer::Error::file(path, message))
        })?;
        let mut journal = Self { blocks, progress: StoreProgress::default() };
        let (progress, end) = journal.read(info)?;
        journal.blocks.keep(end)?;
        journal.progress = progress;
        Ok(journal)
    }

    /// The progress, and the end of the last whole block.
    fn read(&self, info: &StoreInfo) -> Result<(StoreProgress, u64)> {
        let mut progress = StoreProgress::default();
        let mut whole = self.blocks(info)?;
        while let Some(block) = whole.next_block()? {
            note(&mut progress, &block.rows, block.position, block.bad);
        }
        Ok((progress, whole.blocks.at()))
    }

    /// Appends rows that were checked before. If the disk is full, the journal does not change.
    pub(super) fn append(&mut self, rows: &Rows, position: u64, bad: &[Bad]) -> Result<()> {
        let bad_list: Vec<(usize, &str, &str)> =
            bad.iter().map(|bad| (bad.index, bad.name.as_str(), bad.reason.as_str())).collect();
        let list = if bad.is_empty() { Vec::new() } else { to_json(self.blocks.path(), &bad_list)? };
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
        block.extend_from_slice(&rows.traits);
        block.extend_from_slice(&list);
        self.blocks.append(block)?;
        note(&mut self.progress, rows, position, bad.to_vec());
        Ok(())
    }

    /// Forces all rows to the disk.
    pub(super) fn sync(&self) -> Result<()> {
        Ok(self.blocks.sync()?)
    }

    /// All whole blocks.
    pub(super) fn blocks<'a>(&'a self, info: &'a StoreInfo) -> Result<Blocks<'a>> {
        Ok(Blocks { blocks: self.blocks.blocks()?, info })
    }

    /// Deletes the journal, when its rows are in the final file.
    pub(super) fn remove(self) -> Result<()> {
        Ok(self.blocks.remove()?)
    }
}

/// The request and the progress of the journal at `path`. Does not change it.
pub(super) fn look(path: &Path) -> Result<Option<(StoreInfo, StoreProgress)>> {
    let Some((head, blocks)) = journal::Journal::look(path, KIND)? else { return Ok(None) };
    let info = serde_json::from_slice::<StoreInfo>(&head).ok().filter(|info| info.check().is_ok());
    let Some(info) = info else { return Ok(None) };
    let journal = Journal { blocks, progress: StoreProgress::default() };
    let progress = journal.read(&info)?.0;
    Ok(Some((info, progress)))
}

/// Adds a block to the progress.
fn note(progress: &mut StoreProgress, rows: &Rows, position: u64, bad: Vec<Bad>) {
    progress.rows += rows.len();
    progress.position = position;
    progress.bad.extend(bad);
    rows.traits.iter().for_each(|&bits| progress.traits.add(bits));
    if let (Some(digest), Some(&index)) = (rows.digests.last_chunk::<DIGEST>(), rows.indices.last()) {
        progress.last = Some((*digest, index));
    }
}

/// Reads a journal block by block.
pub(super) struct Blocks<'a> {
    blocks: journal::Blocks<'a>,
    info: &'a StoreInfo,
}

impl Blocks<'_> {
    /// The next whole block; `None` at the end or before an incomplete one.
    pub(super) fn next_block(&mut self) -> Result<Option<Block>> {
        let row_bytes = self.info.row_bytes();
        let block = self.blocks.next_block(BLOCK_HEAD, |mut head| {
            let (count, list) = (head.u32() as usize, head.u32() as usize);
            count.checked_mul(row_bytes)?.checked_add(list)
        })?;
        let Some(block) = block else { return Ok(None) };
        let network = &self.info.network;
        let mut fields = Fields(&block);
        let (count, list, position) = (fields.u32() as usize, fields.u32() as usize, fields.u64());
        let rows = Rows {
            features: fields.numbers(count * network.width, f32::from_le_bytes),
            logits: fields.numbers(count * network.classes, f32::from_le_bytes),
            spatial: fields.numbers(count * network.spatial, f32::from_le_bytes),
            labels: fields.numbers(count, u32::from_le_bytes),
            indices: fields.numbers(count, u32::from_le_bytes),
            sizes: fields.numbers(2 * count, u32::from_le_bytes),
            digests: fields.bytes(DIGEST * count).to_vec(),
            traits: fields.bytes(count).to_vec(),
        };
        let list = fields.bytes(list);
        let bad: Vec<(usize, String, String)> =
            if list.is_empty() { Vec::new() } else { serde_json::from_slice(list).unwrap_or_default() };
        let bad = bad.into_iter().map(|(index, name, reason)| Bad { index, name, reason }).collect();
        Ok(Some(Block { rows, position, bad }))
    }
}

fn to_json(path: &Path, value: &impl serde::Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|e| Error::file(path, e.to_string()))
}
