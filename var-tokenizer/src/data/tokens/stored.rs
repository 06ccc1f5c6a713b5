//! A token file as HDF5 has it, believing nothing that was not checked.
//!
//! HDF5 is a C library that crashes or loops on some damaged files: see [`crate::h5::check`].

use std::ops::Range;
use std::path::{Path, PathBuf};

use hdf5::{Dataset, File, H5Type};
use ndarray::s;

use super::ids::{Ids, Strip};
use super::{
    FORMAT_VERSION, InputStatistics, MAX_CLASSES, SAMPLE, SHARD, Shard, TokenInfo, UNREADABLE, slot,
};
use crate::data::h5;
use crate::data::images::Split;
use crate::data::schedule::ScaleSchedule;
use crate::runtime::error::{Error, Result};

/// An opened token file; its attributes and shapes were checked, its ids were not.
#[derive(Debug)]
pub(super) struct Stored {
    path: PathBuf,
    info: TokenInfo,
    parts: [Part; 2],
    /// Rows of a sample, in a part of a token file.
    sample: Option<Dataset>,
    /// Images of a part of a token file that cannot be read.
    unreadable: usize,
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
        let file = h5::open(path, "encode it again")?;
        let wrong = |message: String| Error::file(path, message);
        let version = h5::number(&file, "format_version").map_err(|_| {
            wrong("has no readable format_version: damaged, or not made by var-tokenizer encode".into())
        })?;
        if version != u64::from(FORMAT_VERSION) {
            return Err(wrong(format!(
                "has format version {version}, but this program reads {FORMAT_VERSION}; encode it again"
            )));
        }
        if h5::number(&file, "complete").ok() != Some(1) {
            return Err(wrong("is not complete; encode it again".into()));
        }
        let info = read_info(&file).map_err(|reason| wrong(format!("damaged: {reason}; encode it again")))?;
        info.check().map_err(|reason| wrong(format!("damaged: {reason}")))?;
        let part = |split: Split| {
            Part::open(&file, split, &info)
                .map_err(|reason| wrong(format!("damaged: /{split}: {reason}; encode it again")))
        };
        let parts = [part(Split::Train)?, part(Split::Val)?];
        if parts[0].rows == 0 && info.shard.is_none() {
            return Err(wrong("has no rows to train on".into()));
        }
        let (mut sample, mut unreadable) = (None, 0);
        if info.shard.is_some() {
            let damaged = |reason: String| wrong(format!("damaged: {reason}; encode it again"));
            sample = Some(file.dataset(SAMPLE).map_err(|_| damaged("no data set 'sample'".into()))?);
            unreadable = h5::size(&file, UNREADABLE).map_err(damaged)?;
        }
        Ok(Self { path: path.to_owned(), info, parts, sample, unreadable })
    }

    /// Rows of the sample, which may not exist.
    pub(super) fn sample(&self) -> Result<Vec<u32>> {
        let Some(set) = &self.sample else { return Ok(Vec::new()) };
        let rows = set.shape().first().copied().unwrap_or(0);
        let damaged = |reason: String| Error::file(&self.path, format!("damaged: {reason}; encode it again"));
        h5::whole::<u32>(set, SAMPLE, &[rows]).map_err(damaged)?;
        set.read_raw::<u32>().map_err(|e| h5::error(&self.path, "damaged sample; encode it again", &e))
    }

    /// Images that cannot be read, in a part of a token file.
    pub(super) fn unreadable(&self) -> usize {
        self.unreadable
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
            h5::error(&self.path, &format!("/{split} is damaged or truncated; encode it again"), &e)
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
        if info.narrow() {
            h5::whole::<u16>(&tokens, "tokens", &[rows, length])?;
        } else {
            h5::whole::<u32>(&tokens, "tokens", &[rows, length])?;
        }
        h5::whole::<u32>(&labels, "labels", &[rows])?;
        h5::whole::<u32>(&sources, "source", &[rows])?;
        h5::whole::<u16>(&crops, "crop", &[rows])?;
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

fn read_info(file: &File) -> std::result::Result<TokenInfo, String> {
    let sides: Vec<u32> = h5::list(file, "schedule", 64)?;
    let schedule = ScaleSchedule::new(sides.into_iter().map(|side| side as usize).collect());
    let statistics = if file.attr("input_mean").is_ok() {
        let (mean, deviation) =
            (h5::list(file, "input_mean", 1 << 16)?, h5::list(file, "input_std", 1 << 16)?);
        Some(InputStatistics { mean, deviation })
    } else {
        None
    };
    let class_names = h5::texts(file, "class_names", MAX_CLASSES)?;
    let shard = match file.attr(SHARD) {
        Err(_) => None,
        Ok(_) => match h5::list::<u32>(file, SHARD, 2)?[..] {
            [index, of] => Some(Shard::new(index, of).map_err(|e| e.to_string())?),
            _ => return Err("attribute shard is not two numbers".into()),
        },
    };
    let optional =
        |name: &str| if file.attr(name).is_ok() { h5::string(file, name) } else { Ok(String::new()) };
    Ok(TokenInfo {
        schedule: schedule.map_err(|e| e.to_string())?,
        vocabulary: h5::size(file, "vocabulary")?,
        latent_channels: h5::size(file, "latent_channels")?,
        tokenizer_sha256: h5::string(file, "tokenizer_sha256")?,
        image_side: h5::size(file, "image_side")?,
        crop_policy: h5::string(file, "crop_policy")?,
        source: h5::string(file, "source")?,
        pictures_sha256: optional("pictures_sha256")?,
        precision: optional("precision")?,
        class_names,
        input_statistics: statistics,
        shard,
    })
}
