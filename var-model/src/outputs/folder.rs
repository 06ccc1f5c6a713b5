//! A folder of PNGs with `labels.csv` and `settings.json`. A picture counts as there when its line is.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;
use serde_json::Value;
use var_tokenizer::files::lock;
use var_tokenizer::locks::Lock;

use super::{Output, Picture, Plan, io, rows, settings};
use crate::error::{Error, Result};

const LABELS: &str = "labels.csv";
/// Fewest digits of a picture's name.
const DIGITS: usize = 6;

/// The settings file of a folder.
pub(super) fn settings_path(path: &Path) -> PathBuf {
    path.join("settings.json")
}

/// Makes sure that the folder is there or can be made.
pub(super) fn check(path: &Path) -> Result<()> {
    if path.is_dir() {
        tempfile::tempfile_in(path).map_err(io(path))?;
        return Ok(());
    }
    if path.exists() {
        let why = "is no folder; --out takes a new folder for PNGs, or a file that ends in .png or .npz";
        return Err(var_tokenizer::Error::file(path, why).into());
    }
    Ok(var_tokenizer::files::check_place(path)?)
}

/// Refuses a folder in which something lies.
pub(super) fn refuse_begun(path: &Path) -> Result<()> {
    let mut entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(io(path)(e)),
    };
    if entries.next().is_none() {
        return Ok(());
    }
    let why = if settings_path(path).exists() {
        "holds pictures of an earlier call; go on with --resume, or choose another --out"
    } else {
        "is not empty; name a new folder for the PNGs, or a file that ends in .png or .npz"
    };
    Err(var_tokenizer::Error::file(path, why).into())
}

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    plan: Plan,
    earlier: Option<Value>,
    /// Whole lines of the pictures that were there.
    lines: Vec<String>,
    labels: Option<File>,
    lock: Option<Lock>,
    written: usize,
}

impl Folder {
    pub(super) fn open(path: &Path, plan: &Plan, resume: bool) -> Result<Self> {
        let mut folder = Self {
            path: path.to_owned(),
            plan: plan.clone(),
            earlier: None,
            lines: Vec::new(),
            labels: None,
            lock: None,
            written: 0,
        };
        if resume {
            folder.earlier = settings::read(&settings_path(path))?;
            if folder.earlier.is_some() {
                folder.lines = rows::lines(&path.join(LABELS))?;
                let there = (0..folder.lines.len().min(plan.pictures()))
                    .take_while(|&i| folder.picture_path(i).exists())
                    .count();
                folder.lines.truncate(there);
            } else {
                // Nothing of ours: what lies here is somebody else's.
                refuse_begun(path)?;
            }
        }
        Ok(folder)
    }

    fn name(&self, index: usize) -> String {
        let digits = self.plan.pictures().saturating_sub(1).to_string().len().max(DIGITS);
        format!("{index:0digits$}.png")
    }

    fn picture_path(&self, index: usize) -> PathBuf {
        self.path.join(self.name(index))
    }

    /// Writes a picture where it belongs at once: it counts only when its line is there, and fifty thousand are
    /// not to be flushed one by one.
    fn write_picture(&self, index: usize, image: &RgbImage) -> Result<()> {
        let path = self.picture_path(index);
        image.save(&path).map_err(|e| match e {
            image::ImageError::IoError(e) => io(&path)(e),
            other => Error::Config(format!("{}: {other}", path.display())),
        })
    }

    fn labels_path(&self) -> PathBuf {
        self.path.join(LABELS)
    }
}

impl Output for Folder {
    fn path(&self) -> &Path {
        &self.path
    }

    fn done(&self) -> usize {
        self.lines.len()
    }

    fn settings(&self) -> Option<&Value> {
        self.earlier.as_ref()
    }

    fn read(&mut self, index: usize) -> Result<Picture> {
        let path = self.picture_path(index);
        let damaged = |why: String| {
            Error::from(var_tokenizer::Error::file(
                &path,
                format!("{why}; delete it, then --resume makes it anew"),
            ))
        };
        let image = image::open(&path).map_err(|e| damaged(e.to_string()))?.to_rgb8();
        if image.dimensions() != (self.plan.side as u32, self.plan.side as u32) {
            return Err(damaged("has another size".into()));
        }
        let candidate = if self.plan.chosen {
            let line = self.lines.get(index).map(String::as_str).unwrap_or_default();
            Some(rows::candidate(line).ok_or_else(|| {
                var_tokenizer::Error::file(self.labels_path(), format!("line {} is damaged", index + 2))
            })?)
        } else {
            None
        };
        Ok(Picture { image, candidate })
    }

    fn begin(&mut self, count: usize, settings: &Value) -> Result<()> {
        if !self.path.exists() {
            std::fs::create_dir(&self.path).map_err(io(&self.path))?;
        }
        // They are equal when a call goes on.
        if self.earlier.is_none() {
            settings::write(&settings_path(&self.path), settings)?;
        }
        self.lines.truncate(count);
        let mut text = rows::head(&self.plan, "file");
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        let path = self.labels_path();
        let at = io(&path);
        let open = OpenOptions::new().create(true).append(true).open(&path);
        let mut file = open.map_err(&at)?;
        let lock = locked(&file, &path)?;
        // Cut back where it stands: a lock is on the file, not on its name.
        if std::fs::read(&path).map_err(&at)?.starts_with(text.as_bytes()) {
            file.set_len(text.len() as u64).map_err(&at)?;
        } else {
            file.set_len(0).and_then(|()| file.write_all(text.as_bytes())).map_err(&at)?;
        }
        (self.labels, self.lock) = (Some(file), Some(lock));
        self.written = count;
        Ok(())
    }

    fn add(&mut self, pictures: &[Picture]) -> Result<()> {
        let begin = self.written;
        pictures
            .par_iter()
            .enumerate()
            .try_for_each(|(i, picture)| self.write_picture(begin + i, &picture.image))?;
        let lines: String = pictures
            .iter()
            .enumerate()
            .map(|(i, picture)| rows::line(&self.plan, begin + i, &self.name(begin + i), picture))
            .collect();
        let path = self.labels_path();
        if let Some(file) = &mut self.labels {
            file.write_all(lines.as_bytes()).map_err(io(&path))?;
        }
        self.written += pictures.len();
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        let path = self.labels_path();
        self.labels.as_ref().map_or(Ok(()), |file| file.sync_all().map_err(io(&path)))
    }

    fn finish(&mut self) -> Result<()> {
        self.sync()
    }

    fn keeps(&self) -> bool {
        true
    }
}

/// Locks `file` against other processes for as long as the lock lives.
pub(super) fn locked(file: &File, path: &Path) -> Result<Lock> {
    Ok(lock(file, path, "another process is writing it; wait for it, or choose another --out")?)
}
