//! All pictures in one PNG, a row a class; made at the end.

use std::path::{Path, PathBuf};

use serde_json::Value;
use var_tokenizer::files::write_atomically;
use var_tokenizer::images::Grid;

use super::{Output, Picture, Plan, beside, rows, settings};
use crate::error::{Error, Result};

/// Most pixels of a grid: 0.8 GB.
const MOST_PIXELS: usize = 1 << 28;

#[derive(Debug)]
pub(super) struct GridFile {
    path: PathBuf,
    plan: Plan,
    grid: Grid,
    settings: Value,
    filled: usize,
    kept: String,
}

/// The empty grid of `plan`.
pub(super) fn empty(plan: &Plan) -> Result<Grid> {
    let pixels = plan.pictures().checked_mul(plan.side * plan.side);
    if pixels.is_none_or(|pixels| pixels > MOST_PIXELS) {
        return Err(Error::Config(format!(
            "{} classes with --per-class {} at {side} × {side} pixels: a grid holds at most {MOST_PIXELS} pixels; \
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
    pub(super) fn new(path: &Path, plan: &Plan) -> Result<Self> {
        let kept = if plan.chosen { rows::head(plan, "picture") } else { String::new() };
        Ok(Self {
            path: path.to_owned(),
            plan: plan.clone(),
            grid: empty(plan)?,
            settings: Value::Null,
            filled: 0,
            kept,
        })
    }
}

impl Output for GridFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn done(&self) -> usize {
        0
    }

    fn settings(&self) -> Option<&Value> {
        None
    }

    fn read(&mut self, _: usize) -> Result<Picture> {
        Err(Error::Config(format!("{} is a grid: no single pictures are read from it", self.path.display())))
    }

    fn begin(&mut self, _: usize, settings: &Value) -> Result<()> {
        self.settings = settings.clone();
        Ok(())
    }

    fn add(&mut self, pictures: &[Picture]) -> Result<()> {
        for picture in pictures {
            let (row, column) = (self.filled / self.plan.per_class, self.filled % self.plan.per_class);
            self.grid.put_picture(row, column, &picture.image)?;
            if self.plan.chosen {
                self.kept += &rows::line(&self.plan, self.filled, &self.filled.to_string(), picture);
            }
            self.filled += 1;
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        self.grid.write(&self.path)?;
        settings::write(&beside(&self.path, ".json"), &self.settings)?;
        if self.plan.chosen {
            write_atomically(&beside(&self.path, ".kept.csv"), self.kept.as_bytes())?;
        }
        Ok(())
    }

    fn keeps(&self) -> bool {
        false
    }
}
