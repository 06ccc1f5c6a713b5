//! A token file as HDF5 has it, believing nothing that was not checked.
//!
//! HDF5 is a C library that some damaged files crash or send round in circles: [`super::apart`] calls this in
//! a process of its own.

use std::ops::Range;
use std::path::{Path, PathBuf};

use hdf5::{Dataset, File, H5Type};
use ndarray::s;

use super::reader::{Ids, Strip};
use super::{FORMAT_VERSION, InputStatistics, MAX_CLASSES, TokenInfo, hdf5_error, slot, text};
use crate::error::{Error, Result};
use crate::images::Split;
use crate::schedule::ScaleSchedule;

/// Compression (by other tools) shrinks data at most this much; more is a damaged size.
const MAX_COMPRESSION: u64 = 1100;

/// Largest chunk of a data set, in bytes: the library takes that much memory to read one row of it.
const MAX_CHUNK: u64 = 64 << 20;

/// An opened token file; its attributes and shapes were checked, its ids were not.
#[derive(Debug)]
pub(super) struct Stored {
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

impl Stored {
    /// Opens `path`.
    pub(super) fn open(path: &Path) -> Result<Self> {
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

    /// How the tokens came to be.
    pub(super) fn info(&self) -> &TokenInfo {
        &self.info
    }

    /// Rows of both parts.
    pub(super) fn rows(&self) -> [usize; 2] {
        [self.parts[0].rows, self.parts[1].rows]
    }

    /// Some rows of a part, which must exist.
    pub(super) fn strip(&self, split: Split, rows: Range<usize>) -> Result<Strip> {
        self.parts[slot(split)].strip(rows, self.info.narrow()).map_err(|e| {
            hdf5_error(&self.path, &format!("/{split} is damaged or truncated; encode it again"), &e)
        })
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

    fn strip(&self, rows: Range<usize>, narrow: bool) -> hdf5::Result<Strip> {
        Ok(Strip {
            ids: if narrow {
                Ids::Narrow(self.ids(rows.clone())?)
            } else {
                Ids::Wide(self.ids(rows.clone())?)
            },
            labels: self.labels.read_slice_1d::<u32, _>(s![rows.clone()])?.to_vec(),
            sources: self.sources.read_slice_1d::<u32, _>(s![rows.clone()])?.to_vec(),
            crops: self.crops.read_slice_1d::<u16, _>(s![rows])?.to_vec(),
        })
    }

    fn ids<T: H5Type>(&self, rows: Range<usize>) -> hdf5::Result<Vec<T>> {
        Ok(self.tokens.read_slice_2d::<T, _>(s![rows, ..])?.into_raw_vec_and_offset().0)
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
