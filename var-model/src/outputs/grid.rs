//! All images in one PNG, one row per class. The grid is made at the end.

use std::path::{Path, PathBuf};

use serde_json::Value;
use var_tokenizer::files::{with_suffix, write_atomically};
use var_tokenizer::images::Grid;

use super::output::{Candidate, Earlier, Output, OutputPlan, Picture};
use super::{rows, settings};
use crate::error::{Error, Result};

/// Most pixels of a grid: 0.8 GB.
const MOST_PIXELS: usize = 1 << 28;

#[derive(Debug)]
pub(super) struct GridFile {
    path: PathBuf,
    plan: OutputPlan,
    grid: Grid,
    settings: Value,
    filled: usize,
    kept: String,
    earlier: Earlier,
}

/// The settings file of a grid.
pub(super) fn settings_path(path: &Path) -> PathBuf {
    with_suffix(path, ".json")
}

/// The empty grid of `plan`.
pub(super) fn empty(plan: &OutputPlan) -> Result<Grid> {
    let pixels = plan.pictures().checked_mul(plan.side * plan.side);
    if pixels.is_none_or(|pixels| pixels > MOST_PIXELS) {
        return Err(Error::Config(format!(
            "{} classes of {} images at {side} × {side} pixels: a grid holds at most {MOST_PIXELS} pixels; \
             write a folder or an .npz, or sample in several calls",
            plan.labels.len(),
            plan.per_class,
            side = plan.side
        )));
    }
    Grid::new(plan.labels.len(), plan.per_class, plan.side)
        .map_err(|e| Error::Config(format!("{e}; write a folder or an .npz, or sample in several calls")))
}

impl GridFile {
    /// With `resume`, checks whether an earlier call made the grid.
    pub(super) fn open(path: &Path, plan: &OutputPlan, resume: bool) -> Result<Self> {
        let kept = if plan.chosen { rows::head(plan, "picture") } else { String::new() };
        let mut earlier = Earlier::default();
        if resume {
            earlier.settings = settings::read(&settings_path(path))?;
            earlier.made = earlier.settings.is_some();
            let missing = |path: &PathBuf| !path.exists();
            let table = plan.chosen.then(|| with_suffix(path, ".kept.csv"));
            match std::iter::once(path.to_owned()).chain(table).find(missing) {
                Some(missing) if earlier.made => {
                    earlier.lost = Some(format!(
                        "{} is missing, but {} shows that it was made; put it back, or make it again without resuming",
                        missing.display(),
                        settings_path(path).display()
                    ));
                }
                _ => earlier.finished = earlier.made,
            }
        }
        Ok(Self {
            path: path.to_owned(),
            plan: plan.clone(),
            grid: empty(plan)?,
            settings: Value::Null,
            filled: 0,
            kept,
            earlier,
        })
    }
}

impl Output for GridFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn earlier(&self) -> &Earlier {
        &self.earlier
    }

    fn forget(&mut self) {
        self.earlier = Earlier::default();
    }

    fn read(&mut self, _: usize) -> Result<Picture> {
        Err(Error::Config(format!("{} is a grid; single images cannot be read from it", self.path.display())))
    }

    fn candidate(&mut self, number: usize) -> Result<Option<Candidate>> {
        let lines = rows::lines(&with_suffix(&self.path, ".kept.csv"))?;
        Ok(lines.get(number).and_then(|line| rows::candidate(line)))
    }

    fn begin(&mut self, _: usize, settings: &Value) -> Result<()> {
        self.settings = settings.clone();
        Ok(())
    }

    fn add(&mut self, pictures: &[Picture]) -> Result<()> {
        for picture in pictures {
            let (row, column) = (self.filled / self.plan.per_class, self.filled % self.plan.per_class);
            self.grid.put_image(row, column, &picture.image)?;
            if self.plan.chosen {
                self.kept += &rows::line(&self.plan, self.filled, &self.filled.to_string(), picture)?;
            }
            self.filled += 1;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.earlier.finished {
            return Ok(());
        }
        self.grid.write(&self.path)?;
        if self.plan.chosen {
            write_atomically(&with_suffix(&self.path, ".kept.csv"), self.kept.as_bytes())?;
        }
        // Last: this file says that the grid is complete.
        settings::write(&settings_path(&self.path), &self.settings)
    }

    fn keeps(&self) -> bool {
        false
    }
}
