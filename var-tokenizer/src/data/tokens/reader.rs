//! Reading `tokens.h5`, believing nothing that was not checked.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::ids::{Ids, SplitTokens, Strip};
use super::stored::Stored;
use super::{Rows, TokenInfo, partial_path, slot};
use crate::data::images::Split;
use crate::runtime::error::{Error, Result};

/// Rows that are read from disk in one go.
const STRIP: usize = 4096;

/// An opened token file. Its attributes and shapes were checked; its ids are checked when they are read.
///
/// HDF5, a C library, reads it in this process, and crashes on some damaged files. Programs therefore check a file of
/// unknown origin first, in a child process ([`crate::h5::check`]).
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    stored: Stored,
}

/// Says of a journal what it is.
fn check_not_journal(path: &Path) -> Result<()> {
    let mut magic = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(8).read_to_end(&mut magic).map_err(|e| Error::io(path, e))?;
    if magic != super::journal::MAGIC {
        return Ok(());
    }
    let message = "is the journal of an unfinished token file; run the same encode command again to resume";
    Err(Error::file(path, message))
}

impl TokenFile {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// When it is missing, unfinished, truncated, damaged, of another kind or another format version.
    pub fn open(path: &Path) -> Result<Self> {
        let file = Self::open_part(path)?;
        match file.info().shard {
            None => Ok(file),
            Some(shard) => {
                let message =
                    format!("is part {shard} of a token file; join all parts first (var-tokenizer join)");
                Err(Error::file(path, message))
            }
        }
    }

    /// As [`Self::open`], also for a part of a token file.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_part(path: &Path) -> Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => check_not_journal(path)?,
            Ok(metadata) => {
                let what = if metadata.is_dir() { "a folder" } else { "not a plain file" };
                return Err(Error::file(path, format!("is {what}; expected a token file (tokens.h5)")));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && partial_path(path).exists() => {
                return Err(Error::file(
                    path,
                    "is not finished: encoding was stopped; run the same encode command again to resume",
                ));
            }
            Err(e) => return Err(Error::io(path, e)),
        }
        Ok(Self { path: path.to_owned(), stored: Stored::open(path)? })
    }

    /// Reads everything once: checksums, and the bounds of ids and labels.
    ///
    /// # Errors
    /// As [`Self::open`] and [`Self::read_rows`].
    pub fn check(path: &Path) -> Result<()> {
        let file = Self::open_part(path)?;
        file.sample()?;
        for split in Split::ALL {
            let rows = file.rows(split);
            for begin in (0..rows).step_by(STRIP) {
                file.strip(split, begin..rows.min(begin + STRIP))?;
            }
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the tokens came to be.
    pub fn info(&self) -> &TokenInfo {
        self.stored.info()
    }

    /// Number of rows `N` of a part.
    pub fn rows(&self, split: Split) -> usize {
        self.stored.rows()[slot(split)]
    }

    /// Reads, in a part, the rows of `/train` from which the statistics of the joined file are computed.
    ///
    /// # Errors
    /// When they are damaged.
    pub(crate) fn sample(&self) -> Result<Vec<u32>> {
        let sample = self.stored.sample()?;
        match sample.iter().find(|&&row| row as usize >= self.rows(Split::Train)) {
            None => Ok(sample),
            Some(row) => Err(Error::file(&self.path, format!("damaged: the sample has row {row}"))),
        }
    }

    /// Number of images that have no rows because they cannot be read, in a part; 0 in a whole file, which does not say.
    pub(crate) fn unreadable(&self) -> usize {
        self.stored.unreadable()
    }

    /// Refuses tokens of another tokenizer.
    ///
    /// # Errors
    /// When `sha256` is not that of the tokenizer in the file.
    pub fn require_tokenizer(&self, sha256: &str) -> Result<()> {
        let own = &self.info().tokenizer_sha256;
        if own.eq_ignore_ascii_case(sha256) {
            return Ok(());
        }
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        Err(Error::file(
            &self.path,
            format!(
                "made with another tokenizer (SHA-256 {}…) than the given one ({}…); give the tokenizer that made it, or encode \
                 again with the given one",
                short(own),
                short(sha256)
            ),
        ))
    }

    /// Reads some rows of a part.
    ///
    /// # Errors
    /// When the rows do not exist, or a chunk is damaged, or an id or label is out of bounds.
    pub fn read_rows(&self, split: Split, rows: Range<usize>) -> Result<Rows> {
        let all = self.rows(split);
        if rows.start > rows.end || rows.end > all {
            return Err(Error::file(
                &self.path,
                format!("rows {}..{} of /{split}, which has {all}", rows.start, rows.end),
            ));
        }
        let mut result = Rows::default();
        let mut begin = rows.start;
        while begin < rows.end {
            let end = rows.end.min(begin + STRIP);
            let strip = self.strip(split, begin..end)?;
            match strip.ids {
                Ids::Narrow(ids) => result.tokens.extend(ids.into_iter().map(u32::from)),
                Ids::Wide(ids) => result.tokens.extend(ids),
            }
            result.labels.extend(strip.labels);
            result.sources.extend(strip.sources);
            result.crops.extend(strip.crops);
            begin = end;
        }
        Ok(result)
    }

    /// Reads the tokens and labels of a whole part.
    ///
    /// # Errors
    /// As for [`Self::read_rows`].
    pub fn read_split(&self, split: Split) -> Result<SplitTokens> {
        let (rows, length) = (self.rows(split), self.info().length());
        let mut ids = if self.info().narrow() { Ids::Narrow(Vec::new()) } else { Ids::Wide(Vec::new()) };
        // All at once: growing would take up to three times as much.
        let count = rows.saturating_mul(length);
        let reserved = match &mut ids {
            Ids::Narrow(ids) => ids.try_reserve_exact(count),
            Ids::Wide(ids) => ids.try_reserve_exact(count),
        };
        if reserved.is_err() {
            return Err(Error::file(
                &self.path,
                format!(
                    "{count} tokens of {split} do not fit into memory; encode fewer images, or use a larger machine"
                ),
            ));
        }
        let mut labels = Vec::new();
        for begin in (0..rows).step_by(STRIP) {
            let strip = self.strip(split, begin..rows.min(begin + STRIP))?;
            match (&mut ids, strip.ids) {
                (Ids::Narrow(ids), Ids::Narrow(more)) => ids.extend(more),
                (Ids::Wide(ids), Ids::Wide(more)) => ids.extend(more),
                // A strip has the width that the vocabulary asks for.
                _ => return Err(Error::file(&self.path, "ids of two widths")),
            }
            labels.extend(strip.labels);
        }
        Ok(SplitTokens { length, ids, labels })
    }

    /// Some rows that exist, with ids and labels within bounds.
    fn strip(&self, split: Split, rows: Range<usize>) -> Result<Strip> {
        let strip = self.stored.strip(split, rows)?;
        let (vocabulary, classes) = (self.info().vocabulary, self.info().classes());
        let id = strip.ids.largest();
        if id as usize >= vocabulary {
            let message = format!("damaged: /{split} has id {id} in a vocabulary of {vocabulary}");
            return Err(Error::file(&self.path, message));
        }
        if let Some(label) = strip.labels.iter().find(|&&label| label as usize >= classes) {
            let message = format!("damaged: /{split} has label {label} of {classes} classes");
            return Err(Error::file(&self.path, message));
        }
        Ok(strip)
    }
}
