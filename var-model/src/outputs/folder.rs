//! A folder of PNGs with `labels.csv` and `settings.json`. The names of the PNGs are their rows. An image counts as done
//! when its line is there. The lines are in the order of the image numbers; the last step sorts them by row.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use image::RgbImage;
use rayon::prelude::*;
use serde_json::Value;
use var_tokenizer::files::{open_locked, write_atomically};
use var_tokenizer::locks::Lock;

use super::output::{Earlier, Output, OutputPlan, Picture, io};
use super::{rows, settings};
use crate::error::{Error, Result};

const LABELS: &str = "labels.csv";
/// Minimum number of digits in the name of an image.
const DIGITS: usize = 6;

/// The settings file of a folder.
pub(super) fn settings_path(path: &Path) -> PathBuf {
    path.join("settings.json")
}

/// Checks that the folder exists or can be made.
pub(super) fn check(path: &Path) -> Result<()> {
    if path.is_dir() {
        tempfile::tempfile_in(path).map_err(io(path))?;
        return Ok(());
    }
    if path.exists() {
        let why = "is not a folder; name a new folder for PNGs, or a file that ends in .png or .npz";
        return Err(Error::file(path, why));
    }
    var_tokenizer::files::check_place(path)
}

/// Refuses a folder that is not empty.
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
        "has images of an earlier call; resume it, or choose another place"
    } else if path.join(LABELS).exists() {
        "has labels.csv of an earlier call, but not settings.json, which says how the images were made; put \
         it back, or choose another place"
    } else {
        "is not empty; name a new folder for the PNGs, or a file that ends in .png or .npz"
    };
    Err(Error::file(path, why))
}

#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    plan: OutputPlan,
    earlier: Earlier,
    /// Lines of the images of earlier calls, by image number.
    lines: Vec<String>,
    labels: Option<File>,
    lock: Option<Lock>,
    written: usize,
}

impl Folder {
    pub(super) fn open(path: &Path, plan: &OutputPlan, resume: bool) -> Result<Self> {
        let mut folder = Self {
            path: path.to_owned(),
            plan: plan.clone(),
            earlier: Earlier::default(),
            lines: Vec::new(),
            labels: None,
            lock: None,
            written: 0,
        };
        if resume {
            folder.look()?;
        }
        Ok(folder)
    }

    /// Reads what an earlier call left.
    fn look(&mut self) -> Result<()> {
        self.earlier.settings = settings::read(&settings_path(&self.path))?;
        if self.earlier.settings.is_none() {
            // No call of this program wrote here: the files belong to someone else.
            return refuse_begun(&self.path);
        }
        let has_pictures = std::fs::read_dir(&self.path).map_err(io(&self.path))?.any(|entry| {
            entry.is_ok_and(|entry| Path::new(&entry.file_name()).extension().is_some_and(|e| e == "png"))
        });
        let lines = rows::lines(&self.labels_path())?;
        let listed = lines.len();
        self.earlier.made = has_pictures || listed > 0;
        let in_order = lines.iter().enumerate().all(|(row, line)| rows::row(line) == Some(row));
        self.lines = rows::by_number(&self.plan, lines);
        let there = (0..self.lines.len()).take_while(|&number| self.picture_path(number).exists()).count();
        let next = (there < self.lines.len()).then(|| self.name(there));
        self.lines.truncate(there);
        self.earlier.done = there;
        self.earlier.finished = there == self.plan.pictures() && in_order;
        if has_pictures && listed == 0 && !self.labels_path().exists() {
            self.earlier.lost = Some(
                "labels.csv is missing, but there are images; put it back, or choose another place to start over".into(),
            );
        } else if !has_pictures && listed > 0 {
            self.earlier.lost = Some(format!(
                "labels.csv lists {listed} images, but they are missing; put them back, or choose another place to start \
                 over"
            ));
        } else if let Some(next) = next {
            self.earlier.note = Some(format!(
                "labels.csv lists {listed} images, but {next} is missing; images from there on are written again"
            ));
        }
        Ok(())
    }

    /// The file name of image `number`: its row.
    fn name(&self, number: usize) -> String {
        let digits = self.plan.pictures().saturating_sub(1).to_string().len().max(DIGITS);
        format!("{:0digits$}.png", self.plan.row(number))
    }

    fn picture_path(&self, number: usize) -> PathBuf {
        self.path.join(self.name(number))
    }

    /// Writes an image directly under its name. It counts only when its line is there, so it needs no temporary file
    /// and no flush of its own.
    fn write_picture(&self, number: usize, image: &RgbImage) -> Result<()> {
        let path = self.picture_path(number);
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

    fn earlier(&self) -> &Earlier {
        &self.earlier
    }

    fn read(&mut self, number: usize) -> Result<Picture> {
        let path = self.picture_path(number);
        let damaged =
            |why: String| Error::file(&path, format!("{why}; delete it, then resume to make it again"));
        let image = image::open(&path).map_err(|e| damaged(e.to_string()))?.to_rgb8();
        if image.dimensions() != (self.plan.side as u32, self.plan.side as u32) {
            return Err(damaged("has another size".into()));
        }
        let candidate = if self.plan.chosen {
            let line = self.lines.get(number).map(String::as_str).unwrap_or_default();
            Some(rows::candidate(line).ok_or_else(|| {
                let why = format!(
                    "the line of {} is damaged; delete it, then resume to make the image again",
                    self.name(number)
                );
                Error::file(self.labels_path(), why)
            })?)
        } else {
            None
        };
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
        if !self.path.exists() {
            std::fs::create_dir(&self.path).map_err(io(&self.path))?;
        }
        let path = self.labels_path();
        let at = io(&path);
        let (mut file, lock) = open_locked(&path)?;
        let before = self.earlier.settings.as_ref();
        if before.is_none_or(|before| settings::difference(before, settings).is_some()) {
            settings::write(&settings_path(&self.path), settings)?;
        }
        self.lines.truncate(count);
        let mut text = rows::head(&self.plan, "file");
        for line in &self.lines {
            text.push_str(line);
            text.push('\n');
        }
        // Shortened in place: a lock is on the file, not on its name.
        if !std::fs::read(&path).map_err(&at)?.starts_with(text.as_bytes()) {
            file.rewind().and_then(|()| file.write_all(text.as_bytes())).map_err(&at)?;
        }
        file.set_len(text.len() as u64).map_err(&at)?;
        file.seek(SeekFrom::End(0)).map_err(&at)?;
        (self.labels, self.lock) = (Some(file), Some(lock));
        Ok(())
    }

    fn add(&mut self, pictures: &[Picture]) -> Result<()> {
        if self.earlier.finished {
            return Ok(());
        }
        let begin = self.written;
        pictures
            .par_iter()
            .enumerate()
            .try_for_each(|(i, picture)| self.write_picture(begin + i, &picture.image))?;
        let lines: String = pictures
            .iter()
            .enumerate()
            .map(|(i, picture)| rows::line(&self.plan, begin + i, &self.name(begin + i), picture))
            .collect::<Result<_>>()?;
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
        if self.earlier.finished {
            return Ok(());
        }
        self.sync()?;
        let path = self.labels_path();
        let table = rows::in_row_order(rows::head(&self.plan, "file"), rows::lines(&path)?);
        write_atomically(&path, table.as_bytes())?;
        self.earlier.finished = true;
        Ok(())
    }

    fn keeps(&self) -> bool {
        true
    }
}
