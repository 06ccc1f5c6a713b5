//! Reading `tokens.h5`, believing nothing that was not checked.

use std::ops::Range;
use std::path::{Path, PathBuf};

use hdf5::{Dataset, File, H5Type};
use ndarray::s;

use super::{
    FORMAT_VERSION, InputStatistics, MAX_CLASSES, Rows, TokenInfo, hdf5_error, partial_path, slot, text,
};
use crate::error::{Error, Result};
use crate::images::Split;
use crate::schedule::ScaleSchedule;

/// Rows that are read from disk in one go.
const STRIP: usize = 4096;
/// Compression (by other tools) shrinks data at most this much; more is a damaged size.
const MAX_COMPRESSION: u64 = 1100;

/// Largest chunk of a data set, in bytes: the library takes that much memory to read one row of it.
const MAX_CHUNK: u64 = 64 << 20;

/// An opened token file; its attributes and shapes were checked, its ids are when they are read.
#[derive(Debug)]
pub struct TokenFile {
    path: PathBuf,
    info: TokenInfo,
    parts: [Part; 2],
}

/// The data sets of one group.
#[derive(Debug)]
struct Part {
    rows: usize,
    tokens: Dataset,
    labels: Dataset,
    sources: Dataset,
    crops: Dataset,
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

impl TokenFile {
    /// Opens `path` for reading.
    ///
    /// HDF5 is a C library that some files made with ill intent crash: open none of unknown origin.
    ///
    /// # Errors
    /// When it is missing, unfinished, truncated, damaged, of another kind or another format version.
    pub fn open(path: &Path) -> Result<Self> {
        match std::fs::metadata(path) {
            Ok(metadata) if metadata.is_file() => {}
            Ok(_) => return Err(Error::file(path, "is a folder; expected a token file (tokens.h5)")),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && partial_path(path).exists() => {
                return Err(Error::file(
                    path,
                    "is not finished: encoding was stopped; give the same encode command again to go on",
                ));
            }
            Err(e) => return Err(Error::io(path, e)),
        }
        // A finished file never changes, so there is nothing to lock.
        let file = File::with_options()
            .with_fapl(|p| p.file_locking(false))
            .open(path)
            .map_err(|e| hdf5_error(path, "truncated, damaged or no HDF5 file; encode it again", &e))?;
        let wrong = |message: String| Error::file(path, message);
        let version = number(&file, "format_version").map_err(|_| {
            wrong("has no readable format_version: damaged, or not made by var-tokenizer encode".into())
        })?;
        if version != u64::from(FORMAT_VERSION) {
            return Err(wrong(format!(
                "has format version {version}, but this program reads {FORMAT_VERSION}; encode it again"
            )));
        }
        if number(&file, "complete").ok() != Some(1) {
            return Err(wrong("is not complete; encode it again".into()));
        }
        let info = read_info(&file).map_err(|reason| wrong(format!("damaged: {reason}; encode it again")))?;
        info.check().map_err(|reason| wrong(format!("damaged: {reason}")))?;
        let part = |split: Split| {
            Part::open(&file, split, &info)
                .map_err(|reason| wrong(format!("damaged: /{split}: {reason}; encode it again")))
        };
        let parts = [part(Split::Train)?, part(Split::Val)?];
        if parts[0].rows == 0 {
            return Err(wrong("has no rows to train on".into()));
        }
        Ok(Self { path: path.to_owned(), info, parts })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How the tokens came to be.
    pub fn info(&self) -> &TokenInfo {
        &self.info
    }

    /// Number of rows `N` of a part.
    pub fn rows(&self, split: Split) -> usize {
        self.part(split).rows
    }

    /// Refuses tokens that another tokenizer made.
    ///
    /// # Errors
    /// When `sha256` is not that of the tokenizer in the file.
    pub fn require_tokenizer(&self, sha256: &str) -> Result<()> {
        let own = &self.info.tokenizer_sha256;
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
        let part = self.part(split);
        if rows.start > rows.end || rows.end > part.rows {
            return Err(Error::file(
                &self.path,
                format!("rows {}..{} of /{split}, which has {}", rows.start, rows.end, part.rows),
            ));
        }
        let mut result = Rows::default();
        let mut begin = rows.start;
        while begin < rows.end {
            let end = rows.end.min(begin + STRIP);
            let strip = part.read::<u32>(begin..end).map_err(|e| self.unreadable(split, &e))?;
            self.check(split, strip.0.iter().copied(), &strip.1)?;
            result.tokens.extend(strip.0);
            result.labels.extend(strip.1);
            let sources = part.sources.read_slice_1d::<u32, _>(s![begin..end]);
            result.sources.extend(sources.map_err(|e| self.unreadable(split, &e))?);
            let crops = part.crops.read_slice_1d::<u16, _>(s![begin..end]);
            result.crops.extend(crops.map_err(|e| self.unreadable(split, &e))?);
            begin = end;
        }
        Ok(result)
    }

    /// Reads the tokens and labels of a whole part.
    ///
    /// # Errors
    /// As for [`Self::read_rows`].
    pub fn read_split(&self, split: Split) -> Result<SplitTokens> {
        let part = self.part(split);
        let mut ids = if self.info.narrow() { Ids::Narrow(Vec::new()) } else { Ids::Wide(Vec::new()) };
        // All at once: growing would take up to three times as much.
        let count = part.rows.saturating_mul(self.info.length());
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
        for begin in (0..part.rows).step_by(STRIP) {
            let rows = begin..part.rows.min(begin + STRIP);
            let found = match &mut ids {
                Ids::Narrow(ids) => {
                    let strip = part.read::<u16>(rows).map_err(|e| self.unreadable(split, &e))?;
                    self.check(split, strip.0.iter().map(|&id| u32::from(id)), &strip.1)?;
                    ids.extend(strip.0);
                    strip.1
                }
                Ids::Wide(ids) => {
                    let strip = part.read::<u32>(rows).map_err(|e| self.unreadable(split, &e))?;
                    self.check(split, strip.0.iter().copied(), &strip.1)?;
                    ids.extend(strip.0);
                    strip.1
                }
            };
            labels.extend(found);
        }
        Ok(SplitTokens { length: self.info.length(), ids, labels })
    }

    fn part(&self, split: Split) -> &Part {
        &self.parts[slot(split)]
    }

    fn unreadable(&self, split: Split, e: &hdf5::Error) -> Error {
        hdf5_error(&self.path, &format!("/{split} is damaged or truncated; encode it again"), e)
    }

    fn check(&self, split: Split, mut ids: impl Iterator<Item = u32>, labels: &[u32]) -> Result<()> {
        let (vocabulary, classes) = (self.info.vocabulary, self.info.classes());
        if let Some(id) = ids.find(|&id| id as usize >= vocabulary) {
            let message = format!("damaged: /{split} has id {id} in a vocabulary of {vocabulary}");
            return Err(Error::file(&self.path, message));
        }
        if let Some(label) = labels.iter().find(|&&label| label as usize >= classes) {
            let message = format!("damaged: /{split} has label {label} of {classes} classes");
            return Err(Error::file(&self.path, message));
        }
        Ok(())
    }
}

impl Part {
    fn open(file: &File, split: Split, info: &TokenInfo) -> std::result::Result<Self, String> {
        let open = |name: &str| {
            let dataset =
                file.dataset(&format!("{split}/{name}")).map_err(|_| format!("no data set '{name}'"))?;
            Ok::<Dataset, String>(dataset)
        };
        let (tokens, labels, sources, crops) =
            (open("tokens")?, open("labels")?, open("source")?, open("crop")?);
        let [rows, length] = tokens.shape()[..] else {
            return Err(format!("tokens have shape {:?}, expected [N, {}]", tokens.shape(), info.length()));
        };
        if length != info.length() {
            return Err(format!(
                "{length} tokens in a row, but the schedule {} has {}",
                info.schedule,
                info.length()
            ));
        }
        let expected: [(&Dataset, &str, usize, bool); 4] = [
            (
                &tokens,
                "tokens",
                info.row_bytes(),
                if info.narrow() { is::<u16>(&tokens) } else { is::<u32>(&tokens) },
            ),
            (&labels, "labels", 4, is::<u32>(&labels)),
            (&sources, "source", 4, is::<u32>(&sources)),
            (&crops, "crop", 2, is::<u16>(&crops)),
        ];
        for (dataset, name, row_bytes, right_type) in expected {
            if dataset.shape().first() != Some(&rows) || (name != "tokens" && dataset.ndim() != 1) {
                return Err(format!("{name} has shape {:?}, but there are {rows} rows", dataset.shape()));
            }
            if !right_type {
                return Err(format!(
                    "{name} has another number type than format version {FORMAT_VERSION} says"
                ));
            }
            let chunk = dataset
                .chunk()
                .unwrap_or_default()
                .iter()
                .try_fold(1_u64, |all, &side| all.checked_mul(side as u64));
            let width = dataset.dtype().map_or(0, |dtype| dtype.size()) as u64;
            if chunk.and_then(|chunk| chunk.checked_mul(width)).is_none_or(|bytes| bytes > MAX_CHUNK) {
                return Err(format!("{name} has chunks above {} MB", MAX_CHUNK >> 20));
            }
            // Rows that were never written read as zeros, and would pass for tokens.
            let stored = dataset.storage_size();
            let needed = (rows as u64).checked_mul(row_bytes as u64);
            let limit = if dataset.filters().iter().any(is_compression) {
                stored.saturating_mul(MAX_COMPRESSION)
            } else {
                stored
            };
            if needed.is_none_or(|needed| needed > limit) {
                return Err(format!("{name}: {stored} bytes on disk for {rows} rows: some are missing"));
            }
        }
        Ok(Self { rows, tokens, labels, sources, crops })
    }

    /// Tokens and labels of some rows.
    fn read<T: H5Type>(&self, rows: Range<usize>) -> hdf5::Result<(Vec<T>, Vec<u32>)> {
        let tokens = self.tokens.read_slice_2d::<T, _>(s![rows.clone(), ..])?;
        let labels = self.labels.read_slice_1d::<u32, _>(s![rows])?;
        Ok((tokens.into_raw_vec_and_offset().0, labels.into_raw_vec_and_offset().0))
    }
}

fn is<T: H5Type>(dataset: &Dataset) -> bool {
    dataset.dtype().is_ok_and(|dtype| dtype.is::<T>())
}

fn is_compression(filter: &hdf5::filters::Filter) -> bool {
    !matches!(filter, hdf5::filters::Filter::Fletcher32 | hdf5::filters::Filter::Shuffle)
}

fn read_info(file: &File) -> std::result::Result<TokenInfo, String> {
    let whole = |name: &str| {
        let number = number(file, name)?;
        usize::try_from(number).map_err(|_| format!("attribute {name} is {number}"))
    };
    let sides: Vec<u32> = list(file, "schedule", 64)?;
    let schedule = ScaleSchedule::new(sides.into_iter().map(|side| side as usize).collect());
    let statistics = if file.attr("input_mean").is_ok() {
        let (mean, deviation) = (list(file, "input_mean", 1 << 16)?, list(file, "input_std", 1 << 16)?);
        Some(InputStatistics { mean, deviation })
    } else {
        None
    };
    let class_names = texts(file, "class_names", MAX_CLASSES)?;
    let optional = |name: &str| if file.attr(name).is_ok() { string(file, name) } else { Ok(String::new()) };
    Ok(TokenInfo {
        schedule: schedule.map_err(|e| e.to_string())?,
        vocabulary: whole("vocabulary")?,
        latent_channels: whole("latent_channels")?,
        tokenizer_sha256: string(file, "tokenizer_sha256")?,
        image_side: whole("image_side")?,
        crop_policy: string(file, "crop_policy")?,
        source: string(file, "source")?,
        pictures_sha256: optional("pictures_sha256")?,
        precision: optional("precision")?,
        class_names,
        input_statistics: statistics,
    })
}

/// A scalar attribute of any whole-number type.
fn number(file: &File, name: &str) -> std::result::Result<u64, String> {
    let attribute = file.attr(name).map_err(|_| format!("attribute {name} is missing"))?;
    attribute.read_scalar::<u64>().map_err(|_| format!("attribute {name} is no whole number"))
}

/// An attribute of one dimension with at most `limit` elements.
fn list<T: H5Type>(file: &File, name: &str, limit: usize) -> std::result::Result<Vec<T>, String> {
    let attribute = file.attr(name).map_err(|_| format!("attribute {name} is missing"))?;
    if attribute.ndim() != 1 || attribute.size() > limit {
        return Err(format!("attribute {name} has shape {:?}", attribute.shape()));
    }
    attribute.read_raw().map_err(|_| format!("attribute {name} has another type"))
}

/// A text attribute with at most `limit` texts.
fn texts(file: &File, name: &str, limit: usize) -> std::result::Result<Vec<String>, String> {
    let attribute = file.attr(name).map_err(|_| format!("attribute {name} is missing"))?;
    text::read(&attribute, limit).map_err(|reason| format!("attribute {name} {reason}"))
}

/// A scalar text attribute.
fn string(file: &File, name: &str) -> std::result::Result<String, String> {
    texts(file, name, 1)?.pop().ok_or_else(|| format!("attribute {name} is empty"))
}
