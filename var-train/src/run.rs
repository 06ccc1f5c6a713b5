//! The run folder: its lock, configuration and log.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use var_tokenizer::files::{lock, write_atomically};
use var_tokenizer::images::Grid;
use var_tokenizer::locks::Lock;

use crate::checkpoint;
use crate::earlier;
use crate::error::{Error, Result};
use crate::events::EventWriter;
use crate::records::{MetricsLine, step_of};

/// A folder that only this process writes to. On ranks other than 0 it is a name, and nothing is written.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    files: Option<Files>,
}

/// The keys and values of a line. JSON has no number that is not finite; a `null` stands for it.
fn values_of(line: &MetricsLine) -> Result<Map<String, Value>> {
    match serde_json::to_value(line) {
        Ok(Value::Object(values)) => Ok(values),
        _ => Err(Error::config("a line of metrics.jsonl is not an object")),
    }
}

/// Checks that all numbers of a line are finite.
///
/// # Errors
/// [`Error::Diverged`], which names the first key whose value is not.
pub(crate) fn require_finite(line: &MetricsLine) -> Result<()> {
    require_finite_values(line, &values_of(line)?)
}

fn require_finite_values(line: &MetricsLine, values: &Map<String, Value>) -> Result<()> {
    fn lacks(value: &Value) -> bool {
        match value {
            Value::Null => true,
            Value::Array(list) => list.iter().any(lacks),
            _ => false,
        }
    }
    match values.iter().find(|(_, value)| lacks(value)) {
        None => Ok(()),
        Some((key, _)) => {
            let of = if matches!(line, MetricsLine::Val(_)) { "the validation's " } else { "" };
            Err(Error::Diverged(format!("{of}{key} is not finite")))
        }
    }
}

/// What is open in a run folder.
#[derive(Debug)]
struct Files {
    metrics: File,
    events: EventWriter,
    /// Held as long as the folder is open.
    _lock: Lock,
}

impl RunFolder {
    /// Opens `path` for a new run, or with `resume` for the run that is there.
    ///
    /// # Errors
    /// When another process trains in it, and as [`earlier::start`].
    pub fn open(path: &Path, resume: bool) -> Result<Self> {
        // Checked before anything is created, and again under the lock.
        earlier::start(path, resume)?;
        std::fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
        let lock_path = path.join("run.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| Error::io(&lock_path, e))?;
        let busy = "another process trains in this folder; wait for it, or choose another run folder";
        let lock = lock(&file, &lock_path, busy)?;
        earlier::start(path, resume)?;
        let checkpoints = path.join(checkpoint::FOLDER);
        std::fs::create_dir_all(&checkpoints).map_err(|e| Error::io(&checkpoints, e))?;
        checkpoint::clear_partial(path)?;
        let metrics_path = path.join("metrics.jsonl");
        let metrics = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&metrics_path)
            .map_err(|e| Error::io(&metrics_path, e))?;
        let events = EventWriter::create(&path.join("events"))?;
        Ok(Self { path: path.to_owned(), files: Some(Files { metrics, events, _lock: lock }) })
    }

    /// The folder at `path` for ranks other than 0: it need not exist, and writing does nothing.
    pub(crate) fn elsewhere(path: &Path) -> Self {
        Self { path: path.to_owned(), files: None }
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the resolved configuration.
    ///
    /// # Errors
    /// When the disk is full or the folder cannot be written.
    pub(crate) fn write_config(&self, toml: &str) -> Result<()> {
        if self.files.is_none() {
            return Ok(());
        }
        Ok(write_atomically(&self.path.join("config.toml"), toml.as_bytes())?)
    }

    /// Appends a line to `metrics.jsonl`, and its single numbers to the TensorBoard events.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a value is not finite: nothing is written then. When the disk is full.
    pub(crate) fn log(&mut self, line: &MetricsLine) -> Result<()> {
        let values = values_of(line)?;
        require_finite_values(line, &values)?;
        let Some(files) = &mut self.files else { return Ok(()) };
        let (kind, step) = match line {
            MetricsLine::Train(report) => ("train", report.step),
            MetricsLine::Val(validation) => ("val", validation.step),
            MetricsLine::Other => return Ok(()),
        };
        let scalars: Vec<(String, f32)> = values
            .iter()
            .filter(|(key, _)| *key != "step")
            .filter_map(|(key, value)| Some((format!("{kind}/{key}"), value.as_f64()? as f32)))
            .collect();
        let text = format!("{}\n", Value::Object(values));
        let path = self.path.join("metrics.jsonl");
        files.metrics.write_all(text.as_bytes()).map_err(|e| Error::io(&path, e))?;
        files.events.scalars(step, &scalars)
    }

    /// Writes images of `step` to `reconstructions/`, and to the TensorBoard events.
    ///
    /// # Errors
    /// When the disk is full or the folder cannot be written.
    pub(crate) fn show(&mut self, step: u64, grid: &Grid) -> Result<()> {
        let Some(files) = &mut self.files else { return Ok(()) };
        let folder = self.path.join("reconstructions");
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let path = folder.join(format!("step-{step:08}.png"));
        grid.write(&path)?;
        let png = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        files.events.image(step, "val/reconstructions", grid.image().dimensions(), &png)
    }

    /// Removes the lines after `step`, the step of the checkpoint that a resume starts from, and an incomplete last line.
    /// Gives a sentence about other missing lines, if any.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub(crate) fn forget_after(&mut self, step: u64) -> Result<Option<String>> {
        let Some(files) = &mut self.files else { return Ok(None) };
        let path = self.path.join("metrics.jsonl");
        // After a power cut the last bytes may be anything.
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut kept = String::with_capacity(text.len());
        let (mut unreadable, mut torn) = (0, false);
        // An editor may have put a byte-order mark before the first line.
        for line in text.trim_start_matches('\u{feff}').lines().filter(|line| !line.trim().is_empty()) {
            unreadable += usize::from(torn);
            let at = step_of(line);
            torn = at.is_none();
            if at.is_some_and(|at| at <= step) {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        write_atomically(&path, kept.as_bytes())?;
        files.metrics = OpenOptions::new().append(true).open(&path).map_err(|e| Error::io(&path, e))?;
        let path = path.display();
        Ok(if kept.is_empty() && step > 0 {
            Some(format!("{path}: the lines until step {step} are missing; the curves start after it"))
        } else if unreadable > 0 {
            Some(format!("{path}: removed {unreadable} lines that are not JSON objects with a step"))
        } else {
            None
        })
    }

    /// Flushes metrics and events to the disk.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let Some(files) = &mut self.files else { return Ok(()) };
        let path = self.path.join("metrics.jsonl");
        files.metrics.sync_data().map_err(|e| Error::io(&path, e))?;
        files.events.flush()
    }
}
