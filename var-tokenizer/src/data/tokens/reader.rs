//! Reading `tokens.h5`, believing nothing that was not checked.

use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::apart::Reader;
use super::{Rows, TokenInfo, partial_path, slot};
use crate::data::images::Split;
use crate::runtime::error::{Error, Result};

/// Rows that are read from disk in one go.
const STRIP: usize = 4096;

/// An opened token file; its attributes and shapes were checked, its ids are when they are read.
///
/// HDF5 is a C library that some damaged files crash. It is therefore called in a process of its own
/// (this program, started again), which costs some tenths of a second a file.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    outline: Outline,
    reader: Reader,
}

/// What is known of a token file before its rows are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outline {
    pub(super) info: TokenInfo,
    pub(super) rows: [usize; 2],
}

/// Some rows as they lie in the file.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Strip {
    pub(super) ids: Ids,
    pub(super) labels: Vec<u32>,
    pub(super) sources: Vec<u32>,
    pub(super) crops: Vec<u16>,
}

/// Ids in as few bytes as the vocabulary needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ids {
    /// For vocabularies up to 65,536.
    Narrow(Vec<u16>),
    /// For larger ones.
    Wide(Vec<u32>),
}

/// The tokens and labels of a whole part, in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitTokens {
    /// Tokens of a row, `L`.
    pub length: usize,
    /// `[N, L]`
    pub ids: Ids,
    /// `[N]`
    pub labels: Vec<u32>,
}

impl Ids {
    fn largest(&self) -> u32 {
        match self {
            Self::Narrow(ids) => ids.iter().copied().max().map_or(0, u32::from),
            Self::Wide(ids) => ids.iter().copied().max().unwrap_or(0),
        }
    }
}

impl SplitTokens {
    /// Number of rows `N`.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Appends the `L` ids of row `index` to `out`; false when there is no such row.
    pub fn copy_row(&self, index: usize, out: &mut Vec<i64>) -> bool {
        if index >= self.len() {
            return false;
        }
        let range = index * self.length..(index + 1) * self.length;
        match &self.ids {
            Ids::Narrow(ids) => {
                out.extend(ids.get(range).unwrap_or_default().iter().map(|&id| i64::from(id)))
            }
            Ids::Wide(ids) => out.extend(ids.get(range).unwrap_or_default().iter().map(|&id| i64::from(id))),
        }
        true
    }
}

/// Says of a journal what it is.
fn check_not_journal(path: &Path) -> Result<()> {
    let mut magic = Vec::new();
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    file.take(8).read_to_end(&mut magic).map_err(|e| Error::io(path, e))?;
    if magic != super::journal::MAGIC {
        return Ok(());
    }
    let message = "is the journal of a token file that is not finished; give the same encode command again to finish it";
    Err(Error::file(path, message))
}

impl TokenFile {
    /// Opens `path` for reading.
    ///
    /// # Errors
    /// When it is missing, unfinished, truncated, damaged, of another kind or another format version.
    pub fn open(path: &Path) -> Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => check_not_journal(path)?,
            Ok(metadata) => {
                let what = if metadata.is_dir() { "a folder" } else { "not a plain file" };
                return Err(Error::file(path, format!("is {what}; expected a token file (tokens.h5)")));
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && partial_path(path).exists() => {
                return Err(Error::file(
                    path,
                    "is not finished: encoding was stopped; give the same encode command again to go on",
                ));
            }
            Err(e) => return Err(Error::io(path, e)),
        }
        let (reader, outline) = Reader::open(path)?;
        let found = outline.info.check();
        found.map_err(|reason| Error::file(path, format!("damaged: {reason}")))?;
        Ok(Self { path: path.to_owned(), outline, reader })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the tokens came to be.
    pub fn info(&self) -> &TokenInfo {
        &self.outline.info
    }

    /// Number of rows `N` of a part.
    pub fn rows(&self, split: Split) -> usize {
        self.outline.rows[slot(split)]
    }

    /// Refuses tokens that another tokenizer made.
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
                "made by another tokenizer (SHA-256 {}…, this one has {}…); encode again with this one",
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
                    "{count} tokens of {split} do not fit into memory; encode fewer (--limit), or use a larger machine"
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
        let strip = self.reader.strip(&self.outline.info, split, rows)?;
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
