//! The archive that the published evaluator reads: `arr_0` u8 `[N, S, S, 3]` and `arr_1` i64 `[N]`, not
//! compressed.
//!
//! Images go as raw bytes to `x.npz.partial`, in the order of their numbers; `x.npz` is made of it at the end, in
//! the order of their rows, next to it and renamed.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use image::RgbImage;
use npyz::zip::result::ZipResult;
use npyz::zip::{CompressionMethod, ZipArchive, ZipWriter};
use serde_json::Value;
use var_tokenizer::files::{open_locked, with_suffix, write_atomically, write_with};
use var_tokenizer::locks::Lock;
use var_tokenizer::zips::{or_forget, undated};

use super::output::{Earlier, Output, OutputPlan, Picture, about, io};
use super::{rows, settings};
use crate::error::{Error, Result};

/// From here on an entry of an archive needs the 64-bit fields.
const LARGE: u64 = u32::MAX as u64;
/// A numpy header is padded to a multiple of this.
const ALIGNMENT: usize = 64;
/// No header is longer.
const MOST_HEADER: u64 = 256;

fn partial(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

/// Refuses a place where an interrupted call left images.
pub(super) fn refuse_begun(path: &Path) -> Result<()> {
    let begun = partial(path);
    if begun.exists() {
        let why = format!(
            "an interrupted call left images ({}); resume it, choose another place, or delete that file to start over",
            begun.display()
        );
        return Err(Error::file(path, why));
    }
    Ok(())
}

#[derive(Debug)]
pub(super) struct Npz {
    path: PathBuf,
    plan: OutputPlan,
    earlier: Earlier,
    /// The settings of this call.
    settings: Value,
    /// Lines of the candidates of earlier calls, by image number.
    lines: Vec<String>,
    /// The file that images are read from, and the place of the first one in it.
    source: Option<(File, u64)>,
    pictures: Option<File>,
    lock: Option<Lock>,
    kept: Option<File>,
    written: usize,
}

impl Npz {
    pub(super) fn open(path: &Path, plan: &OutputPlan, resume: bool) -> Result<Self> {
        let mut npz = Self {
            path: path.to_owned(),
            plan: plan.clone(),
            earlier: Earlier::default(),
            settings: Value::Null,
            lines: Vec::new(),
            source: None,
            pictures: None,
            lock: None,
            kept: None,
            written: 0,
        };
        if resume {
            npz.look()?;
        }
        Ok(npz)
    }

    /// Reads what an earlier call left.
    fn look(&mut self) -> Result<()> {
        let begun = partial(&self.path);
        let (settings_of_begun, own_settings) =
            (with_suffix(&begun, ".json"), with_suffix(&self.path, ".json"));
        if begun.exists() {
            return self.look_at_begun(&begun, &settings_of_begun);
        }
        if self.path.exists() {
            self.earlier.made = true;
            self.earlier.settings = settings::read(&own_settings)?;
            if self.earlier.settings.is_none() {
                let why = format!(
                    "{} is missing, which says how it was made; put it back, choose another place, or write it again \
                     without resuming",
                    own_settings.display()
                );
                return Err(Error::file(&self.path, why));
            }
            return self.look_at_finished();
        }
        for (missing, settings) in [(&begun, &settings_of_begun), (&self.path, &own_settings)] {
            let table = with_suffix(missing, ".kept.csv");
            if let Some(evidence) = [settings, &table].into_iter().find(|file| file.exists()) {
                self.earlier.made = true;
                self.earlier.settings = settings::read(settings)?;
                self.earlier.lost = Some(lost(missing, evidence, "call again without resuming"));
                return Ok(());
            }
        }
        Ok(())
    }

    fn look_at_begun(&mut self, begun: &Path, settings: &Path) -> Result<()> {
        self.earlier.settings = settings::read(settings)?;
        if self.earlier.settings.is_none() {
            let why = format!(
                "{} is missing, which says how {} was made; put it back, choose another place, or delete the latter to \
                 start over",
                settings.display(),
                begun.display()
            );
            return Err(Error::file(&self.path, why));
        }
        let file = File::open(begun).map_err(io(begun))?;
        let bytes = file.metadata().map_err(io(begun))?.len();
        self.earlier.made = bytes > 0;
        self.earlier.done = ((bytes / self.plan.picture_bytes() as u64) as usize).min(self.plan.pictures());
        self.source = Some((file, 0));
        let table = with_suffix(begun, ".kept.csv");
        if self.plan.chosen {
            if self.earlier.done > 0 && !table.exists() {
                self.earlier.lost = Some(lost(&table, begun, &format!("delete {}", begun.display())));
            }
            self.lines = rows::by_number(&self.plan, rows::lines(&table)?);
            self.earlier.done = self.earlier.done.min(self.lines.len());
        }
        Ok(())
    }

    fn look_at_finished(&mut self) -> Result<()> {
        let mut file = File::open(&self.path).map_err(io(&self.path))?;
        let table = with_suffix(&self.path, ".kept.csv");
        if self.plan.chosen {
            self.lines = rows::by_number(&self.plan, rows::lines(&table)?);
            if self.lines.len() < self.plan.pictures() {
                self.earlier.lost = Some(lost(&table, &self.path, "call again without resuming"));
                return Ok(());
            }
        }
        let size = (self.plan.pictures() * self.plan.picture_bytes()) as u64;
        match data_start(&mut file, size) {
            Ok(start) => {
                self.source = Some((file, start));
                self.earlier.finished = true;
                self.earlier.done = self.plan.pictures();
            }
            // Not an error yet: if the settings differ, that error is more helpful.
            Err(e) => {
                self.earlier.lost =
                    Some(format!("is not a whole archive ({e}); write it again without resuming"))
            }
        }
        Ok(())
    }

    fn kept_path(&self) -> PathBuf {
        with_suffix(&partial(&self.path), ".kept.csv")
    }

    /// Makes the archive from the raw images, under a temporary name at first.
    fn pack(&self) -> Result<()> {
        let raw = File::open(partial(&self.path)).map_err(io(&self.path))?;
        let size = self.plan.picture_bytes() as u64;
        let read =
            |row: usize, bytes: &mut [u8]| raw.read_exact_at(bytes, self.plan.number_in(row) as u64 * size);
        write_with(&self.path, |archive| {
            write_archive(archive, read, self.plan.side, &labels_of(&self.plan)).map_err(|e| {
                let e = match e {
                    npyz::zip::result::ZipError::Io(e) => e,
                    other => std::io::Error::other(other.to_string()),
                };
                Error::io(&self.path, e)
            })
        })
    }
}

impl Output for Npz {
    fn path(&self) -> &Path {
        &self.path
    }

    fn earlier(&self) -> &Earlier {
        &self.earlier
    }

    fn read(&mut self, number: usize) -> Result<Picture> {
        let size = self.plan.picture_bytes();
        let mut bytes = vec![0; size];
        let missing = || {
            let why = format!("image {number} cannot be read from it; delete it to start over");
            Error::file(&self.path, why)
        };
        let (file, start) = self.source.as_ref().ok_or_else(missing)?;
        let place = if self.earlier.finished { self.plan.row(number) } else { number };
        file.read_exact_at(&mut bytes, *start + (place * size) as u64).map_err(io(&self.path))?;
        let side = self.plan.side as u32;
        let image = RgbImage::from_raw(side, side, bytes).ok_or_else(missing)?;
        let candidate = self.lines.get(number).and_then(|line| rows::candidate(line));
        if self.plan.chosen && candidate.is_none() {
            return Err(missing());
        }
        Ok(Picture { image, candidate })
    }

    fn begin(&mut self, count: usize, settings: &Value) -> Result<()> {
        self.written = count;
        if self.earlier.finished {
            return Ok(());
        }
        if self.earlier.settings.is_none() {
            // Another process may have started in the meantime.
            refuse_begun(&self.path)?;
        }
        let path = partial(&self.path);
        let (at, about) = (io(&self.path), about(&self.path));
        let (mut file, lock) = open_locked(&path).map_err(&about)?;
        self.lock = Some(lock);
        settings::write(&with_suffix(&path, ".json"), settings)?;
        self.settings = settings.clone();
        file.set_len((count * self.plan.picture_bytes()) as u64).map_err(&at)?;
        file.seek(SeekFrom::End(0)).map_err(&at)?;
        self.pictures = Some(file);
        if self.plan.chosen {
            let path = self.kept_path();
            let mut text = rows::head(&self.plan, "picture");
            for line in self.lines.iter().take(count) {
                text.push_str(line);
                text.push('\n');
            }
            write_atomically(&path, text.as_bytes()).map_err(&about)?;
            self.kept = Some(OpenOptions::new().append(true).open(&path).map_err(&at)?);
        }
        Ok(())
    }

    fn add(&mut self, pictures: &[Picture]) -> Result<()> {
        let at = io(&self.path);
        for picture in pictures {
            if let Some(file) = &mut self.pictures {
                file.write_all(picture.image.as_raw()).map_err(&at)?;
            }
            if let Some(file) = &mut self.kept {
                let row = self.plan.row(self.written).to_string();
                let line = rows::line(&self.plan, self.written, &row, picture)?;
                file.write_all(line.as_bytes()).map_err(&at)?;
            }
            self.written += 1;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        for file in [&self.pictures, &self.kept].into_iter().flatten() {
            file.sync_all().map_err(io(&self.path))?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.earlier.finished {
            return Ok(());
        }
        self.sync()?;
        self.pack()?;
        settings::write(&with_suffix(&self.path, ".json"), &self.settings)?;
        let begun = partial(&self.path);
        let remove = |path: &Path| std::fs::remove_file(path).map_err(io(path));
        if self.plan.chosen {
            let table =
                rows::in_row_order(rows::head(&self.plan, "picture"), rows::lines(&self.kept_path())?);
            write_atomically(&with_suffix(&self.path, ".kept.csv"), table.as_bytes())?;
        }
        // Removes the raw images last: with them, a later call could make everything else again.
        remove(&begun)?;
        remove(&with_suffix(&begun, ".json"))?;
        if self.plan.chosen {
            remove(&self.kept_path())?;
        }
        self.earlier.finished = true;
        Ok(())
    }

    fn keeps(&self) -> bool {
        true
    }
}

/// The message that `missing` is missing: `evidence` shows that it was there. `otherwise` says how to start over.
fn lost(missing: &Path, evidence: &Path, otherwise: &str) -> String {
    format!(
        "{} is missing, but {} shows that images were made; put it back, choose another place, or {otherwise} to start \
         over",
        missing.display(),
        evidence.display()
    )
}

/// The label of each row.
fn labels_of(plan: &OutputPlan) -> Vec<i64> {
    (0..plan.pictures()).map(|row| plan.class(plan.number_in(row)).0).collect()
}

/// Bytes of the finished archive.
pub(super) fn archive_bytes(plan: &OutputPlan) -> u64 {
    let count = plan.pictures();
    let raw = (count * plan.picture_bytes()) as u64;
    let arrays = raw
        + 8 * count as u64
        + (pictures_header(count, plan.side).len() + labels_header(count).len()) as u64;
    // Two entries with names of 9 letters, each with a local and a directory header, and the end of the directory.
    let entries = 2 * (30 + 9) + 2 * (46 + 9) + 22;
    // 64-bit sizes of the first entry in both headers, the place of the second, the 64-bit end of the directory, and
    // its place.
    let wide = if raw + MOST_HEADER >= LARGE { 20 + 20 + 12 + 56 + 20 } else { 0 };
    arrays + entries + wide
}

fn pictures_header(count: usize, side: usize) -> Vec<u8> {
    header("|u1", &format!("({count}, {side}, {side}, 3)"))
}

fn labels_header(count: usize) -> Vec<u8> {
    header("<i8", &format!("({count},)"))
}

/// Writes the archive of `labels` and the raw images that `read` gives by row.
fn write_archive(
    out: &mut (impl Write + Seek),
    mut read: impl FnMut(usize, &mut [u8]) -> std::io::Result<()>,
    side: usize,
    labels: &[i64],
) -> ZipResult<()> {
    let mut picture = vec![0; side * side * 3];
    let size = (labels.len() * picture.len()) as u64;
    let entry = |size: u64| {
        undated().compression_method(CompressionMethod::Stored).large_file(size + MOST_HEADER >= LARGE)
    };
    or_forget(ZipWriter::new(BufWriter::with_capacity(1 << 20, out)), |archive| {
        archive.start_file("arr_0.npy", entry(size))?;
        archive.write_all(&pictures_header(labels.len(), side))?;
        for row in 0..labels.len() {
            read(row, &mut picture)?;
            archive.write_all(&picture)?;
        }
        archive.start_file("arr_1.npy", entry(8 * labels.len() as u64))?;
        archive.write_all(&labels_header(labels.len()))?;
        for label in labels {
            archive.write_all(&label.to_le_bytes())?;
        }
        archive.finish()?.flush()?;
        Ok(())
    })
}

/// The head of a numpy array, version 1.
fn header(kind: &str, shape: &str) -> Vec<u8> {
    let mut text = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}");
    let fixed = b"\x93NUMPY\x01\x00".len() + 2;
    while !(fixed + text.len() + 1).is_multiple_of(ALIGNMENT) {
        text.push(' ');
    }
    text.push('\n');
    let mut head = b"\x93NUMPY\x01\x00".to_vec();
    head.extend((text.len() as u16).to_le_bytes());
    head.extend(text.as_bytes());
    head
}

/// The place in a finished archive where the `size` bytes of the images begin.
fn data_start(file: &mut File, size: u64) -> std::io::Result<u64> {
    let mut archive = ZipArchive::new(file)?;
    let entry = archive.by_name("arr_0.npy")?;
    let head = entry.size().checked_sub(size).filter(|&head| head < 1 << 16);
    match (entry.compression(), head) {
        (CompressionMethod::Stored, Some(head)) => Ok(entry.data_start() + head),
        _ => Err(std::io::Error::other("holds other images")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_read_back_by_npyz() {
        let (side, labels) = (2, [5_i64, -1, 1 << 40]);
        let pixels: Vec<u8> = (0..36).collect();
        let mut out = std::io::Cursor::new(Vec::new());
        let read = |row: usize, bytes: &mut [u8]| {
            bytes.copy_from_slice(&pixels[12 * row..][..12]);
            Ok(())
        };
        write_archive(&mut out, read, side, &labels).unwrap();
        let mut archive = npyz::npz::NpzArchive::new(out).unwrap();
        let pictures = archive.by_name("arr_0").unwrap().unwrap();
        assert_eq!(pictures.shape(), [3, 2, 2, 3]);
        assert_eq!(pictures.into_vec::<u8>().unwrap(), pixels);
        assert_eq!(archive.by_name("arr_1").unwrap().unwrap().into_vec::<i64>().unwrap(), labels);
    }

    #[test]
    #[ignore = "writes 4.3 GB"]
    fn an_archive_beyond_four_gigabytes_is_as_long_as_foretold_and_reads_back() {
        let names = crate::ClassNames::new(Vec::new(), 2).unwrap();
        let plan = OutputPlan { labels: vec![0, 1], names, per_class: 11_000, side: 256, chosen: false };
        let labels = labels_of(&plan);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write_archive(&mut file, |_, _| Ok(()), 256, &labels).unwrap();
        assert_eq!(file.as_file().metadata().unwrap().len(), archive_bytes(&plan));
        let size = (plan.pictures() * plan.picture_bytes()) as u64;
        let start = data_start(file.as_file_mut(), size).unwrap();
        assert!(start < 512);
        let mut archive = npyz::npz::NpzArchive::open(file.path()).unwrap();
        assert_eq!(archive.by_name("arr_0").unwrap().unwrap().shape(), [22_000, 256, 256, 3]);
        assert_eq!(archive.by_name("arr_1").unwrap().unwrap().into_vec::<i64>().unwrap(), labels);
    }

    #[test]
    fn a_header_is_aligned() {
        for count in [1, 50_000, 1_000_000] {
            assert!(header("|u1", &format!("({count}, 256, 256, 3)")).len().is_multiple_of(ALIGNMENT));
        }
    }
}
