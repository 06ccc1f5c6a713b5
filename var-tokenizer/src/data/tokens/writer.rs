//! Writing `tokens.h5`, so that a kill at any moment loses nothing but the rows not yet appended.

use std::path::{Path, PathBuf};

use super::journal::Journal;
use super::whole::Whole;
use super::{InputStatistics, Rows, TokenInfo, partial_path, slot};
use crate::data::images::Split;
use crate::runtime::error::{Error, Result};
use crate::runtime::files::{open_locked, put_in_place, with_suffix};
use crate::runtime::locks::Lock;

/// Progress of a token file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Rows of `/train`.
    pub train: usize,
    /// Rows of `/val`.
    pub val: usize,
    /// Position that the caller gave with the last rows: the place to resume.
    pub position: u64,
}

/// Writes a token file; one process at a time.
#[derive(Debug)]
pub struct TokenWriter {
    path: PathBuf,
    info: TokenInfo,
    journal: Journal,
}

impl TokenWriter {
    /// Starts a new token file `path`, and deletes an unfinished one of that name. A finished one stays until
    /// [`Self::finish`] replaces it.
    ///
    /// # Errors
    /// When another process is writing it, `info` does not fit together, or the disk refuses.
    pub fn create(path: &Path, info: TokenInfo) -> Result<Self> {
        info.check().map_err(|e| Error::Config(format!("tokens: {e}")))?;
        let journal = Journal::create(&partial_path(path), &info)?;
        Ok(Self { path: path.to_owned(), info, journal })
    }

    /// Resumes an unfinished `path`, or starts it when it is missing. [`Self::progress`] gives the place.
    ///
    /// # Errors
    /// As for [`Self::create`], and when it was started with another `info`.
    pub fn resume(path: &Path, info: TokenInfo) -> Result<Self> {
        info.check().map_err(|e| Error::Config(format!("tokens: {e}")))?;
        let journal = Journal::resume(&partial_path(path), &info)?;
        Ok(Self { path: path.to_owned(), info, journal })
    }

    /// Returns the attributes of the file.
    pub fn info(&self) -> &TokenInfo {
        &self.info
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let [train, val] = self.journal.rows;
        Progress { train, val, position: self.journal.position }
    }

    /// Appends `rows` to a part. `position` belongs to the caller: [`Self::progress`] returns it after a resume. It
    /// counts the views that are done, readable or not.
    ///
    /// # Errors
    /// When the rows do not agree with the info (lengths, ids, labels), or the disk is full; nothing is
    /// appended then.
    pub fn append(&mut self, split: Split, rows: &Rows, position: u64) -> Result<()> {
        check_rows(rows, &self.info).map_err(|e| Error::Config(format!("tokens: {e}")))?;
        self.journal.append(&self.info, split, rows, position)
    }

    /// Hands all rows that are appended so far to `see`, in the order in which they came.
    ///
    /// # Errors
    /// What `see` returns; when the journal cannot be read.
    pub fn visit(&self, mut see: impl FnMut(Split, &Rows) -> Result<()>) -> Result<()> {
        let mut blocks = self.journal.blocks(&self.info)?;
        while let Some((block, _)) = blocks.next_block()? {
            see(block.split, &block.rows)?;
        }
        Ok(())
    }

    /// Forgets all rows: the next position is 0 again.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn clear(&mut self) -> Result<()> {
        self.journal.clear(&self.info)
    }

    /// Forces all rows onto the disk: after this, a loss of power takes nothing.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn sync(&self) -> Result<()> {
        self.journal.sync()
    }

    /// Makes `tokens.h5` of all rows and deletes the journal. A kill before the end leaves the journal,
    /// and whatever was at the path before.
    ///
    /// # Errors
    /// When no row is for training, or the disk is full.
    pub fn finish(self) -> Result<()> {
        if self.journal.rows[slot(Split::Train)] == 0 {
            return Err(Error::file(&self.path, "has no rows to train on: no image was encoded"));
        }
        self.put(None)
    }

    /// As [`Self::finish`], for a part of a token file, which may have no rows. `sample` has the rows of `/train` from
    /// which the statistics of the joined file are computed; `unreadable` is the number of images that have no rows
    /// because they cannot be read.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn finish_part(self, sample: &[u32], unreadable: usize) -> Result<()> {
        self.put(Some((sample, unreadable)))
    }

    fn put(self, part: Option<(&[u32], usize)>) -> Result<()> {
        self.journal.sync()?;
        let beside = writing_path(&self.path);
        if let Err(e) = self.write(&beside, part) {
            // Half a file is of no use, and the disk may be full of it.
            let _ = std::fs::remove_file(&beside);
            return Err(e);
        }
        put_in_place(&beside, &self.path)?;
        self.journal.remove()
    }

    fn write(&self, beside: &Path, part: Option<(&[u32], usize)>) -> Result<()> {
        let mut whole = Whole::create(beside, &self.info, self.journal.rows)?;
        let mut blocks = self.journal.blocks(&self.info)?;
        while let Some((block, _)) = blocks.next_block()? {
            whole.append(block.split, &block.rows)?;
        }
        if let Some((sample, unreadable)) = part {
            whole.add_part(sample, unreadable)?;
        }
        whole.finish()
    }

    /// As [`Self::finish`], with statistics of the input vectors that were found in the end.
    ///
    /// # Errors
    /// As for [`Self::finish`], and when the statistics do not fit the latent channels.
    pub fn finish_with(mut self, statistics: InputStatistics) -> Result<()> {
        statistics.check(self.info.latent_channels).map_err(|e| Error::Config(format!("tokens: {e}")))?;
        self.info.input_statistics = Some(statistics);
        self.finish()
    }
}

/// Writes a token file whose rows are all on the disk already, in its parts. It needs no journal.
pub(crate) struct JoinedWriter {
    path: PathBuf,
    whole: Option<Whole>,
    /// The empty journal, which keeps other processes away.
    _lock: Lock,
}

impl JoinedWriter {
    /// Starts the token file `path`, which will have `rows` of both parts. A finished one stays until
    /// [`Self::finish`] replaces it.
    ///
    /// # Errors
    /// When another process is writing it, an unfinished one is there, or it would have no rows to train on.
    pub(crate) fn create(path: &Path, info: &TokenInfo, rows: [usize; 2]) -> Result<Self> {
        info.check().map_err(|e| Error::Config(format!("tokens: {e}")))?;
        if rows[slot(Split::Train)] == 0 {
            return Err(Error::file(path, "would have no rows to train on: its parts have none"));
        }
        let journal = partial_path(path);
        let (file, lock) = open_locked(&journal)?;
        if file.metadata().map_err(|e| Error::io(&journal, e))?.len() > 0 {
            let message = "belongs to an unfinished encode; finish it, delete it, or choose another output";
            return Err(Error::file(&journal, message));
        }
        let mut writer = Self { path: path.to_owned(), whole: None, _lock: lock };
        writer.whole = Some(Whole::create(&writing_path(path), info, rows)?);
        Ok(writer)
    }

    /// Appends rows to a part.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn append(&mut self, split: Split, rows: &Rows) -> Result<()> {
        self.whole.as_mut().map_or(Ok(()), |whole| whole.append(split, rows))
    }

    /// Completes the file and puts it in its place.
    ///
    /// # Errors
    /// When rows are missing, or the disk is full.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.whole.take().map_or(Ok(()), Whole::finish)?;
        put_in_place(&writing_path(&self.path), &self.path)
    }
}

impl Drop for JoinedWriter {
    fn drop(&mut self) {
        // What is left after an error is of no use.
        drop(self.whole.take());
        let _ = std::fs::remove_file(writing_path(&self.path));
        let _ = std::fs::remove_file(partial_path(&self.path));
    }
}

/// The finished file before it has its name.
fn writing_path(path: &Path) -> PathBuf {
    with_suffix(path, ".writing")
}

fn check_rows(rows: &Rows, info: &TokenInfo) -> std::result::Result<(), String> {
    let count = rows.len();
    if rows.tokens.len() != count * info.length() || rows.sources.len() != count || rows.crops.len() != count
    {
        return Err(format!(
            "{} ids, {count} labels, {} sources and {} crops are not whole rows of {} tokens",
            rows.tokens.len(),
            rows.sources.len(),
            rows.crops.len(),
            info.length()
        ));
    }
    if let Some(id) = rows.tokens.iter().find(|&&id| id as usize >= info.vocabulary) {
        return Err(format!("id {id} in a vocabulary of {}", info.vocabulary));
    }
    if let Some(label) = rows.labels.iter().find(|&&label| label as usize >= info.classes()) {
        return Err(format!("label {label} of {} classes", info.classes()));
    }
    Ok(())
}
