//! The archive that the published evaluator reads: `arr_0` u8 `[N, S, S, 3]` and `arr_1` i64 `[N]`, not
//! compressed.
//!
//! Pictures go as raw bytes to `x.npz.partial`; `x.npz` is made of it at the end, beside and renamed.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use image::RgbImage;
use npyz::zip::result::ZipResult;
use npyz::zip::write::FileOptions;
use npyz::zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};
use serde_json::Value;
use var_tokenizer::files::{write_atomically, write_with};
use var_tokenizer::locks::Lock;
use var_tokenizer::zips::or_forget;

use super::folder::locked;
use super::{Output, Picture, Plan, beside, io, rows, settings};
use crate::error::{Error, Result};

/// From here on an entry of an archive needs the 64-bit fields.
const LARGE: u64 = u32::MAX as u64;
/// A numpy header is padded to a multiple of this.
const ALIGNMENT: usize = 64;
/// No header is longer.
const MOST_HEADER: u64 = 256;

fn partial(path: &Path) -> PathBuf {
    beside(path, ".partial")
}

/// Refuses a place where an interrupted call left pictures.
pub(super) fn refuse_begun(path: &Path) -> Result<()> {
    let begun = partial(path);
    if begun.exists() {
        let why =
            "an interrupted call left pictures here; go on with --resume, choose another --out, or delete it";
        return Err(var_tokenizer::Error::file(&begun, why).into());
    }
    Ok(())
}

/// The settings of an interrupted or finished call.
pub(super) fn earlier_settings(path: &Path) -> Result<Option<Value>> {
    let begun = partial(path);
    if begun.exists() {
        return settings::read(&beside(&begun, ".json"));
    }
    if path.exists() { settings::read(&beside(path, ".json")) } else { Ok(None) }
}

#[derive(Debug)]
pub(super) struct Npz {
    path: PathBuf,
    plan: Plan,
    earlier: Option<Value>,
    /// The settings of this call.
    settings: Value,
    /// Pictures that were there.
    done: usize,
    /// Lines of the candidates that were there.
    lines: Vec<String>,
    /// Where pictures are read from, and where in it they begin.
    source: Option<(File, u64)>,
    pictures: Option<File>,
    lock: Option<Lock>,
    kept: Option<File>,
    written: usize,
    /// Nothing is left to do: an earlier call finished it.
    finished: bool,
}

impl Npz {
    pub(super) fn open(path: &Path, plan: &Plan, resume: bool) -> Result<Self> {
        let mut npz = Self {
            path: path.to_owned(),
            plan: plan.clone(),
            earlier: None,
            settings: Value::Null,
            done: 0,
            lines: Vec::new(),
            source: None,
            pictures: None,
            lock: None,
            kept: None,
            written: 0,
            finished: false,
        };
        if resume {
            npz.look()?;
        }
        Ok(npz)
    }

    /// Takes in what an earlier call left.
    fn look(&mut self) -> Result<()> {
        let begun = partial(&self.path);
        let finished = !begun.exists() && self.path.exists();
        if !begun.exists() && !finished {
            return Ok(());
        }
        let place = if finished { self.path.clone() } else { begun };
        self.earlier = settings::read(&beside(&place, ".json"))?;
        if self.earlier.is_none() {
            let why = "has no settings beside it (….json), so that nobody can tell how to go on; delete it";
            return Err(var_tokenizer::Error::file(&place, why).into());
        }
        let mut file = File::open(&place).map_err(io(&place))?;
        if self.plan.chosen {
            self.lines = rows::lines(&beside(&place, ".kept.csv"))?;
        }
        let size = self.plan.picture_bytes() as u64;
        if finished {
            self.finished = true;
            self.done = self.plan.pictures();
            let start = data_start(&mut file, self.done as u64 * size)
                .map_err(|e| var_tokenizer::Error::file(&place, format!("is no whole archive: {e}")))?;
            self.source = Some((file, start));
        } else {
            let whole = file.metadata().map_err(io(&place))?.len() / size;
            self.done = (whole as usize).min(self.plan.pictures());
            if self.plan.chosen {
                self.done = self.done.min(self.lines.len());
            }
            self.source = Some((file, 0));
        }
        Ok(())
    }

    fn kept_path(&self) -> PathBuf {
        beside(&partial(&self.path), ".kept.csv")
    }

    /// Makes the archive out of the raw pictures, beside and renamed.
    fn pack(&self) -> Result<()> {
        let begun = partial(&self.path);
        let mut raw = File::open(&begun).map_err(io(&begun))?;
        let labels: Vec<i64> = (0..self.plan.pictures()).map(|i| self.plan.class(i).0).collect();
        Ok(write_with(&self.path, |archive| {
            write_archive(archive, &mut raw, self.plan.side, &labels).map_err(|e| {
                let e = match e {
                    npyz::zip::result::ZipError::Io(e) => e,
                    other => std::io::Error::other(other.to_string()),
                };
                var_tokenizer::Error::io(&self.path, e)
            })
        })?)
    }
}

impl Output for Npz {
    fn path(&self) -> &Path {
        &self.path
    }

    fn done(&self) -> usize {
        self.done
    }

    fn settings(&self) -> Option<&Value> {
        self.earlier.as_ref()
    }

    fn read(&mut self, index: usize) -> Result<Picture> {
        let size = self.plan.picture_bytes();
        let mut bytes = vec![0; size];
        let at = io(&self.path);
        let missing = || Error::Config(format!("{}: picture {index} cannot be read", self.path.display()));
        let (file, start) = self.source.as_mut().ok_or_else(missing)?;
        file.seek(SeekFrom::Start(*start + (index * size) as u64))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(&at)?;
        let side = self.plan.side as u32;
        let image = RgbImage::from_raw(side, side, bytes).ok_or_else(missing)?;
        let candidate = self.lines.get(index).and_then(|line| rows::candidate(line));
        if self.plan.chosen && candidate.is_none() {
            return Err(missing());
        }
        Ok(Picture { image, candidate })
    }

    fn begin(&mut self, count: usize, settings: &Value) -> Result<()> {
        self.written = count;
        if self.finished {
            return Ok(());
        }
        let path = partial(&self.path);
        let open = |path: &Path| OpenOptions::new().create(true).append(true).open(path).map_err(io(path));
        let file = open(&path)?;
        self.lock = Some(locked(&file, &path)?);
        settings::write(&beside(&path, ".json"), settings)?;
        self.settings = settings.clone();
        file.set_len((count * self.plan.picture_bytes()) as u64).map_err(io(&path))?;
        self.pictures = Some(file);
        if self.plan.chosen {
            let path = self.kept_path();
            let mut text = rows::head(&self.plan, "picture");
            for line in self.lines.iter().take(count) {
                text.push_str(line);
                text.push('\n');
            }
            write_atomically(&path, text.as_bytes())?;
            self.kept = Some(open(&path)?);
        }
        Ok(())
    }

    fn add(&mut self, pictures: &[Picture]) -> Result<()> {
        let path = partial(&self.path);
        for picture in pictures {
            if let Some(file) = &mut self.pictures {
                file.write_all(picture.image.as_raw()).map_err(io(&path))?;
            }
            if let Some(file) = &mut self.kept {
                let line = rows::line(&self.plan, self.written, &self.written.to_string(), picture);
                file.write_all(line.as_bytes()).map_err(io(&path))?;
            }
            self.written += 1;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let path = partial(&self.path);
        for file in [&self.pictures, &self.kept].into_iter().flatten() {
            file.sync_all().map_err(io(&path))?;
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.finished {
            return Ok(());
        }
        self.sync()?;
        self.pack()?;
        settings::write(&beside(&self.path, ".json"), &self.settings)?;
        let begun = partial(&self.path);
        let remove = |path: &Path| std::fs::remove_file(path).map_err(io(path));
        if self.plan.chosen {
            let kept = self.kept_path();
            let table = std::fs::read(&kept).map_err(io(&kept))?;
            write_atomically(&beside(&self.path, ".kept.csv"), &table)?;
        }
        // The raw pictures stay until all else is there: a later call could make it again.
        remove(&begun)?;
        remove(&beside(&begun, ".json"))?;
        if self.plan.chosen {
            remove(&self.kept_path())?;
        }
        self.finished = true;
        Ok(())
    }

    fn keeps(&self) -> bool {
        true
    }
}

/// Bytes of the finished archive.
pub(super) fn archive_bytes(plan: &Plan) -> u64 {
    let count = plan.pictures();
    let raw = (count * plan.picture_bytes()) as u64;
    let arrays = raw
        + 8 * count as u64
        + (pictures_header(count, plan.side).len() + labels_header(count).len()) as u64;
    // Two entries with names of 9 letters, each in its place and in the directory, and the directory's end.
    let entries = 2 * (30 + 9) + 2 * (46 + 9) + 22;
    // 64-bit sizes of the first entry, twice, the place of the second, the directory's 64-bit end and where
    // that is.
    let wide = if raw + MOST_HEADER >= LARGE { 20 + 20 + 12 + 56 + 20 } else { 0 };
    arrays + entries + wide
}

fn pictures_header(count: usize, side: usize) -> Vec<u8> {
    header("|u1", &format!("({count}, {side}, {side}, 3)"))
}

fn labels_header(count: usize) -> Vec<u8> {
    header("<i8", &format!("({count},)"))
}

/// Writes the archive of the raw `pictures` and `labels`.
fn write_archive(
    out: &mut (impl Write + Seek),
    pictures: &mut impl Read,
    side: usize,
    labels: &[i64],
) -> ZipResult<()> {
    let size = (labels.len() * side * side * 3) as u64;
    // A fixed date: the same pictures give the same bytes.
    let entry = |size: u64| {
        FileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(size + MOST_HEADER >= LARGE)
    };
    or_forget(ZipWriter::new(BufWriter::with_capacity(1 << 20, out)), |archive| {
        archive.start_file("arr_0.npy", entry(size))?;
        archive.write_all(&pictures_header(labels.len(), side))?;
        if std::io::copy(&mut pictures.take(size), archive)? != size {
            return Err(
                std::io::Error::other("fewer pictures than expected: was it written to meanwhile?").into()
            );
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

/// Where in a finished archive the `size` bytes of the pictures begin.
fn data_start(file: &mut File, size: u64) -> std::io::Result<u64> {
    let mut archive = ZipArchive::new(file)?;
    let entry = archive.by_name("arr_0.npy")?;
    let head = entry.size().checked_sub(size).filter(|&head| head < 1 << 16);
    match (entry.compression(), head) {
        (CompressionMethod::Stored, Some(head)) => Ok(entry.data_start() + head),
        _ => Err(std::io::Error::other("it holds other pictures")),
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
        write_archive(&mut out, &mut pixels.as_slice(), side, &labels).unwrap();
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
        let plan = Plan { labels: vec![0, 1], names, per_class: 11_000, side: 256, chosen: false };
        let labels: Vec<i64> = (0..plan.pictures()).map(|i| plan.class(i).0).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        write_archive(&mut file, &mut std::io::repeat(7), 256, &labels).unwrap();
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
