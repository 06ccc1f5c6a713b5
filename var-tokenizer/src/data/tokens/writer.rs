//! Writing `tokens.h5`, so that a kill at any moment loses nothing but the rows not yet appended.

use std::path::{Path, PathBuf};

use hdf5::{Dataset, File, Group, H5Type};
use ndarray::{ArrayView1, ArrayView2, s};

use super::journal::Journal;
use super::{CHUNK_ROWS, FORMAT_VERSION, InputStatistics, Rows, TokenInfo, partial_path, slot};
use crate::data::h5::{self, text};
use crate::data::images::Split;
use crate::runtime::error::{Error, Result};
use crate::runtime::files::{put_in_place, with_suffix};

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
        self.journal.sync()?;
        let beside = with_suffix(&self.path, ".writing");
        if let Err(e) = write_file(&beside, &self.info, &self.journal) {
            // Half a file is of no use, and the disk may be full of it.
            let _ = std::fs::remove_file(&beside);
            return Err(e);
        }
        put_in_place(&beside, &self.path)?;
        self.journal.remove()
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

/// Writes the whole HDF5 file at `path`.
fn write_file(path: &Path, info: &TokenInfo, journal: &Journal) -> Result<()> {
    let failed = |e: hdf5::Error| h5::error(path, "cannot be written", &e);
    // The newer layout holds attributes above 64 KB: thousands of class names. The library's own lock
    // would only get in the way: the journal is locked, and network file systems often know none.
    let file = File::with_options()
        .with_fapl(|p| p.libver_v110().file_locking(false))
        .create(path)
        .map_err(failed)?;
    write_attributes(&file, info).map_err(failed)?;
    let mut parts = Vec::new();
    for split in Split::ALL {
        let group = file.create_group(split.name()).map_err(failed)?;
        let part = if info.narrow() {
            Part::new::<u16>(&group, journal.rows[slot(split)], info.length())
        } else {
            Part::new::<u32>(&group, journal.rows[slot(split)], info.length())
        };
        parts.push(part.map_err(failed)?);
    }
    let mut blocks = journal.blocks(info)?;
    while let Some((block, _)) = blocks.next_block()? {
        if let Some(part) = parts.get_mut(slot(block.split)) {
            part.add(&block.rows, info).map_err(failed)?;
        }
    }
    for (part, expected) in parts.iter_mut().zip(journal.rows) {
        part.flush(info).map_err(failed)?;
        if part.written != expected {
            return Err(Error::file(path, format!("{} rows of {expected} could be read back", part.written)));
        }
    }
    // Last of all: a reader takes this for the sign that nothing is missing.
    h5::write_number(&file, "complete", 1_u32).map_err(failed)?;
    file.flush().map_err(failed)?;
    drop(parts);
    file.close().map_err(failed)
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
