//! The HDF5 file of tokens while it is written, in one go.

use std::path::{Path, PathBuf};

use hdf5::{Dataset, File, Group, H5Type};
use ndarray::{ArrayView1, ArrayView2, s};

use super::{CHUNK_ROWS, FORMAT_VERSION, Rows, SAMPLE, SHARD, TokenInfo, UNREADABLE, slot};
use crate::data::h5::{self, text};
use crate::data::images::Split;
use crate::runtime::error::{Error, Result};

/// A file that is not complete yet.
pub(super) struct Whole {
    path: PathBuf,
    info: TokenInfo,
    file: File,
    parts: [Part; 2],
    /// Rows that both parts will have.
    expected: [usize; 2],
}

impl Whole {
    /// Starts the file `path` with room for `rows` of both parts.
    pub(super) fn create(path: &Path, info: &TokenInfo, rows: [usize; 2]) -> Result<Self> {
        let failed = |e: hdf5::Error| failed(path, &e);
        // The newer layout holds attributes above 64 KB: thousands of class names. The library's own lock
        // would only get in the way: the journal is locked, and network file systems often know none.
        let file = File::with_options()
            .with_fapl(|p| p.libver_v110().file_locking(false))
            .create(path)
            .map_err(failed)?;
        write_attributes(&file, info).map_err(failed)?;
        let part = |split: Split| {
            let group = file.create_group(split.name())?;
            if info.narrow() {
                Part::new::<u16>(&group, rows[slot(split)], info.length())
            } else {
                Part::new::<u32>(&group, rows[slot(split)], info.length())
            }
        };
        let [train, val] = Split::ALL.map(part);
        let parts = [train.map_err(failed)?, val.map_err(failed)?];
        Ok(Self { path: path.to_owned(), info: info.clone(), file, parts, expected: rows })
    }

    /// Adds rows to a part.
    pub(super) fn append(&mut self, split: Split, rows: &Rows) -> Result<()> {
        self.parts[slot(split)].add(rows, &self.info).map_err(|e| failed(&self.path, &e))
    }

    /// Adds what only a part has: the rows of `/train` from which the statistics of a joined file are computed, and the
    /// number of unreadable images.
    pub(super) fn add_part(&mut self, sample: &[u32], unreadable: usize) -> Result<()> {
        let set = column::<u32>(&self.file, sample.len(), SAMPLE);
        let written = set.and_then(|set| set.write_slice(ArrayView1::from(sample), s![0..sample.len()]));
        let written = written.and_then(|()| h5::write_number(&self.file, UNREADABLE, unreadable as u32));
        written.map_err(|e| failed(&self.path, &e))
    }

    /// Completes the file.
    pub(super) fn finish(self) -> Result<()> {
        let Self { path, info, file, mut parts, expected } = self;
        for (part, expected) in parts.iter_mut().zip(expected) {
            part.flush(&info).map_err(|e| failed(&path, &e))?;
            if part.written != expected {
                return Err(Error::file(
                    path,
                    format!("{} rows of {expected} could be read back", part.written),
                ));
            }
        }
        // Last of all: a reader takes this for the sign that nothing is missing.
        h5::write_number(&file, "complete", 1_u32).map_err(|e| failed(&path, &e))?;
        file.flush().map_err(|e| failed(&path, &e))?;
        drop(parts);
        file.close().map_err(|e| failed(&path, &e))
    }
}

fn failed(path: &Path, e: &hdf5::Error) -> Error {
    h5::error(path, "cannot be written", e)
}

fn write_attributes(file: &File, info: &TokenInfo) -> hdf5::Result<()> {
    h5::write_number(file, "format_version", FORMAT_VERSION)?;
    let sides: Vec<u32> = info.schedule.sides().iter().map(|&side| side as u32).collect();
    file.new_attr_builder().with_data(&sides).create("schedule")?;
    for (name, number) in [
        ("vocabulary", info.vocabulary),
        ("latent_channels", info.latent_channels),
        ("image_side", info.image_side),
    ] {
        h5::write_number(file, name, number as u32)?;
    }
    for (name, value) in [
        ("tokenizer_sha256", &info.tokenizer_sha256),
        ("crop_policy", &info.crop_policy),
        ("source", &info.source),
        ("pictures_sha256", &info.pictures_sha256),
        ("precision", &info.precision),
    ] {
        if value.is_empty() {
            continue;
        }
        text::write(file, name, &[value], true)?;
    }
    let names: Vec<&str> = info.class_names.iter().map(String::as_str).collect();
    text::write(file, "class_names", &names, false)?;
    if let Some(shard) = info.shard {
        file.new_attr_builder().with_data(&[shard.index(), shard.of()]).create(SHARD)?;
    }
    if let Some(statistics) = &info.input_statistics {
        file.new_attr_builder().with_data(&statistics.mean).create("input_mean")?;
        file.new_attr_builder().with_data(&statistics.deviation).create("input_std")?;
    }
    Ok(())
}

/// The data sets of one group, and rows that do not fill a chunk yet.
struct Part {
    tokens: Dataset,
    labels: Dataset,
    sources: Dataset,
    crops: Dataset,
    waiting: Rows,
    written: usize,
}

impl Part {
    fn new<T: H5Type>(group: &Group, rows: usize, length: usize) -> hdf5::Result<Self> {
        let tokens = group
            .new_dataset::<T>()
            .chunk((CHUNK_ROWS, length))
            .fletcher32()
            .shape((rows.., length))
            .create("tokens")?;
        Ok(Self {
            tokens,
            labels: column::<u32>(group, rows, "labels")?,
            sources: column::<u32>(group, rows, "source")?,
            crops: column::<u16>(group, rows, "crop")?,
            waiting: Rows::default(),
            written: 0,
        })
    }

    /// Takes rows, and writes chunks as they fill.
    fn add(&mut self, rows: &Rows, info: &TokenInfo) -> hdf5::Result<()> {
        self.waiting.tokens.extend_from_slice(&rows.tokens);
        self.waiting.labels.extend_from_slice(&rows.labels);
        self.waiting.sources.extend_from_slice(&rows.sources);
        self.waiting.crops.extend_from_slice(&rows.crops);
        let whole = self.waiting.len() / CHUNK_ROWS * CHUNK_ROWS;
        self.write(whole, info)
    }

    /// Writes what is left.
    fn flush(&mut self, info: &TokenInfo) -> hdf5::Result<()> {
        self.write(self.waiting.len(), info)
    }

    fn write(&mut self, count: usize, info: &TokenInfo) -> hdf5::Result<()> {
        if count == 0 {
            return Ok(());
        }
        let (begin, end) = (self.written, self.written + count);
        let tokens: Vec<u32> = self.waiting.tokens.drain(..count * info.length()).collect();
        if info.narrow() {
            let narrow: Vec<u16> = tokens.into_iter().map(|id| id as u16).collect();
            let view = ArrayView2::from_shape((count, info.length()), &narrow)?;
            self.tokens.write_slice(view, s![begin..end, ..])?;
        } else {
            let view = ArrayView2::from_shape((count, info.length()), &tokens)?;
            self.tokens.write_slice(view, s![begin..end, ..])?;
        }
        let labels: Vec<u32> = self.waiting.labels.drain(..count).collect();
        self.labels.write_slice(ArrayView1::from(&labels), s![begin..end])?;
        let sources: Vec<u32> = self.waiting.sources.drain(..count).collect();
        self.sources.write_slice(ArrayView1::from(&sources), s![begin..end])?;
        let crops: Vec<u16> = self.waiting.crops.drain(..count).collect();
        self.crops.write_slice(ArrayView1::from(&crops), s![begin..end])?;
        self.written = end;
        Ok(())
    }
}

fn column<T: H5Type>(group: &Group, rows: usize, name: &str) -> hdf5::Result<Dataset> {
    group.new_dataset::<T>().chunk(CHUNK_ROWS * 16).fletcher32().shape(rows..).create(name)
}
