//! Writes `features.h5`. A kill at any moment loses only the rows that were not appended yet.

use std::path::{Path, PathBuf};

use hdf5::{Dataset, File, H5Type};
use ndarray::{ArrayView1, ArrayView2, s};
use sha2::{Digest, Sha256};
use var_tokenizer::files::{hexadecimal, put_in_place, with_suffix, write_atomically};
use var_tokenizer::h5::{self, text};
use var_tokenizer::images::Bad;

use super::journal::Journal;
use super::{CHUNK_BYTES, DIGEST, FORMAT_VERSION, Rows, StoreInfo, StoreProgress, bad_path, partial_path};
use crate::error::{Error, Result};
use crate::inputs::pixels::TraitCounts;
use crate::statistics::Accumulator;

/// Writes a file of features; one process at a time.
#[derive(Debug)]
pub struct FeatureWriter {
    path: PathBuf,
    info: StoreInfo,
    journal: Journal,
}

impl FeatureWriter {
    /// Starts a new file `path`. Deletes an unfinished one; a finished one stays until [`Self::finish`] replaces it.
    ///
    /// # Errors
    /// When another process is writing it, `info` does not fit together, or the disk fails.
    pub fn create(path: &Path, info: StoreInfo) -> Result<Self> {
        info.check().map_err(Error::config)?;
        let journal = Journal::create(&partial_path(path), &info)?;
        Ok(Self { path: path.to_owned(), info, journal })
    }

    /// Continues an unfinished file `path`, or starts it; [`Self::progress`] says where.
    ///
    /// # Errors
    /// As for [`Self::create`], and when it was started with another network or other images.
    pub fn resume(path: &Path, info: StoreInfo) -> Result<Self> {
        info.check().map_err(Error::config)?;
        let journal = Journal::resume(&partial_path(path), &info)?;
        Ok(Self { path: path.to_owned(), info, journal })
    }

    /// Its progress.
    pub fn progress(&self) -> &StoreProgress {
        &self.journal.progress
    }

    /// Appends rows, and images that could not be read. `position` is the number of images processed so far, for
    /// [`Self::progress`] after a resume.
    ///
    /// # Errors
    /// When the rows do not have the network's widths, or the disk is full; nothing is appended then.
    pub fn append(&mut self, rows: &Rows, position: u64, bad: &[Bad]) -> Result<()> {
        rows.check(&self.info.network).map_err(Error::config)?;
        self.journal.append(rows, position, bad)
    }

    /// Forces all rows to the disk, so that a power failure loses nothing.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<()> {
        self.journal.sync()
    }

    /// Writes all rows with their statistics to `features.h5`, and deletes the journal. After a kill, the journal and the
    /// previous file are still there. Lists images that could not be read in `PATH.bad.txt`.
    ///
    /// # Errors
    /// When no image could be read, or the disk is full.
    pub fn finish(self) -> Result<()> {
        let bad = &self.journal.progress.bad;
        if self.journal.progress.rows == 0 {
            let first = bad.first().map(|bad| format!("; the first: {}", bad.reason)).unwrap_or_default();
            let failure = Error::file(&self.info.source, format!("no image could be read{first}"));
            // Otherwise the same command would skip all images, even after their repair.
            self.journal.remove()?;
            return Err(failure);
        }
        self.journal.sync()?;
        let list = bad_path(&self.path);
        if bad.is_empty() {
            let _ = std::fs::remove_file(&list);
        } else {
            let lines: String =
                bad.iter().map(|bad| format!("{}\t{}\n", bad.name, bad.reason.replace('\n', " "))).collect();
            write_atomically(&list, lines.as_bytes())?;
        }
        let beside = with_suffix(&self.path, ".writing");
        if let Err(e) = write_file(&beside, &self.info, &self.journal) {
            // An incomplete file is useless and may fill the disk.
            let _ = std::fs::remove_file(&beside);
            return Err(e);
        }
        put_in_place(&beside, &self.path)?;
        self.journal.remove()
    }
}

/// Writes the HDF5 file at `path`. Memory does not grow with the number of images.
fn write_file(path: &Path, info: &StoreInfo, journal: &Journal) -> Result<()> {
    let failed = |e: hdf5::Error| Error::from(h5::error(path, "cannot be written", &e));
    // The newer layout holds attributes above 64 KB: thousands of class names. The journal is locked already.
    let file = File::with_options()
        .with_fapl(|p| p.libver_v110().file_locking(false))
        .create(path)
        .map_err(failed)?;
    let network = &info.network;
    let n = journal.progress.rows;
    let mut sets = Sets {
        features: matrix::<f32>(&file, "features", n, network.width).map_err(failed)?,
        logits: matrix::<f32>(&file, "logits", n, network.classes).map_err(failed)?,
        spatial: matrix::<f32>(&file, "spatial", n, network.spatial).map_err(failed)?,
        labels: column(&file, "labels", n).map_err(failed)?,
        indices: column(&file, "index", n).map_err(failed)?,
        sizes: matrix::<u32>(&file, "size", n, 2).map_err(failed)?,
        digests: matrix::<u8>(&file, "picture", n, DIGEST).map_err(failed)?,
        written: 0,
    };
    let mut pictures = Sha256::new();
    let mut pooled = Accumulator::new(network.width)?;
    let mut spatial = (network.spatial > 0).then(|| Accumulator::new(network.spatial)).transpose()?;
    let shape = |e: ndarray::ShapeError| Error::file(path, e.to_string());
    let mut blocks = journal.blocks(info)?;
    while let Some(block) = blocks.next_block()? {
        let rows = block.rows;
        sets.write(&rows, network).map_err(failed)?;
        pictures.update(&rows.digests);
        pooled.push(ArrayView2::from_shape((rows.len(), network.width), &rows.features).map_err(shape)?)?;
        if let Some(spatial) = &mut spatial {
            spatial
                .push(ArrayView2::from_shape((rows.len(), network.spatial), &rows.spatial).map_err(shape)?)?;
        }
    }
    if sets.written != n {
        return Err(Error::file(path, format!("only {} of {n} rows could be read back", sets.written)));
    }
    if n > 1 {
        for (names, accumulator) in [(["mu", "sigma"], Some(pooled)), (["mu_s", "sigma_s"], spatial)] {
            let Some(accumulator) = accumulator else { continue };
            let gaussian = accumulator.finish()?;
            let width = gaussian.mean.len();
            let mu = file.new_dataset::<f64>().chunk(width.min(CHUNK_BYTES / 8)).fletcher32().shape(width);
            mu.create(names[0]).and_then(|set| set.write(&gaussian.mean)).map_err(failed)?;
            let sigma = fixed::<f64>(&file, names[1], width, width).map_err(failed)?;
            sigma.write(&gaussian.covariance).map_err(failed)?;
        }
    }
    write_attributes(&file, info, journal, &hexadecimal(&pictures.finalize())).map_err(failed)?;
    file.flush().map_err(failed)?;
    drop(sets);
    file.close().map_err(failed)
}

fn write_attributes(file: &File, info: &StoreInfo, journal: &Journal, pictures: &str) -> hdf5::Result<()> {
    h5::write_number(file, "format_version", FORMAT_VERSION)?;
    for (name, number) in [
        ("pictures", journal.progress.rows),
        ("bad", journal.progress.bad.len()),
        ("width", info.network.width),
        ("classes", info.network.classes),
        ("spatial_width", info.network.spatial),
    ] {
        h5::write_number(file, name, number as u64)?;
    }
    let TraitCounts { jpegs, turned, transparent, deep } = journal.progress.traits;
    for (name, number) in [("jpegs", jpegs), ("turned", turned), ("transparent", transparent), ("deep", deep)]
    {
        h5::write_number(file, name, number)?;
    }
    for (name, value) in [
        ("network", info.network.network.as_str()),
        ("weights_sha256", &info.network.weights_sha256),
        ("preprocessing", &info.network.preprocessing),
        ("pixels", info.pixels.name()),
        ("source", &info.source),
        ("source_sha256", &info.source_sha256),
        ("pictures_sha256", pictures),
    ] {
        text::write(file, name, &[value], true)?;
    }
    let names: Vec<&str> = info.class_names.iter().map(String::as_str).collect();
    text::write(file, "class_names", &names, false)?;
    // The last write: it tells readers that the file is complete.
    h5::write_number(file, "complete", 1_u32)
}

/// The data sets of rows.
struct Sets {
    features: Option<Dataset>,
    logits: Option<Dataset>,
    spatial: Option<Dataset>,
    labels: Dataset,
    indices: Dataset,
    sizes: Option<Dataset>,
    digests: Option<Dataset>,
    written: usize,
}

impl Sets {
    fn write(&mut self, rows: &Rows, network: &crate::features::network::Identity) -> hdf5::Result<()> {
        let n = rows.len();
        if n == 0 {
            return Ok(());
        }
        let (begin, end) = (self.written, self.written + n);
        write_rows(self.features.as_ref(), &rows.features, begin, n, network.width)?;
        write_rows(self.logits.as_ref(), &rows.logits, begin, n, network.classes)?;
        write_rows(self.spatial.as_ref(), &rows.spatial, begin, n, network.spatial)?;
        write_rows(self.sizes.as_ref(), &rows.sizes, begin, n, 2)?;
        write_rows(self.digests.as_ref(), &rows.digests, begin, n, DIGEST)?;
        self.labels.write_slice(ArrayView1::from(&rows.labels), s![begin..end])?;
        self.indices.write_slice(ArrayView1::from(&rows.indices), s![begin..end])?;
        self.written = end;
        Ok(())
    }
}

fn write_rows<T: H5Type>(
    set: Option<&Dataset>,
    values: &[T],
    begin: usize,
    n: usize,
    width: usize,
) -> hdf5::Result<()> {
    let Some(set) = set else { return Ok(()) };
    set.write_slice(ArrayView2::from_shape((n, width), values)?, s![begin..begin + n, ..])
}

/// A data set `[rows, width]`; `None` without columns.
fn matrix<T: H5Type>(file: &File, name: &str, rows: usize, width: usize) -> hdf5::Result<Option<Dataset>> {
    if width == 0 { Ok(None) } else { fixed::<T>(file, name, rows, width).map(Some) }
}

fn fixed<T: H5Type>(file: &File, name: &str, rows: usize, width: usize) -> hdf5::Result<Dataset> {
    let row_bytes = width * size_of::<T>();
    let chunk = (CHUNK_BYTES / row_bytes.max(1)).clamp(1, rows.max(1));
    file.new_dataset::<T>().chunk((chunk, width)).fletcher32().shape((rows, width)).create(name)
}

fn column(file: &File, name: &str, rows: usize) -> hdf5::Result<Dataset> {
    file.new_dataset::<u32>().chunk(rows.clamp(1, CHUNK_BYTES / 4)).fletcher32().shape(rows).create(name)
}
