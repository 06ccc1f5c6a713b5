//! The run folder: one process at a time, configuration, metrics.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use var_tokenizer::files::{lock, write_atomically};
use var_tokenizer::locks::Lock;

use crate::checkpoint;
use crate::earlier;
use crate::error::{Error, Result};
use crate::events::EventWriter;

/// A folder that this process alone may write to; or, on other ranks than 0, a name that nothing is written
/// to.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    files: Option<Files>,
}

/// Fails when a number among `values`, or in a list of them, is not finite: JSON has no such numbers, and holds a null
/// there. `kind` is `train` or `val`.
///
/// # Errors
/// [`Error::Diverged`], which names the first such key.
pub fn require_finite(kind: &str, values: &Map<String, Value>) -> Result<()> {
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
            let of = if kind == "val" { "the validation's " } else { "" };
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
    /// Opens `path` for a new run, or for going on with one when `resume` is set.
    ///
    /// # Errors
    /// When another process has it, and as [`earlier::start`].
    pub fn open(path: &Path, resume: bool) -> Result<Self> {
        // Asked before anything is made, and again under the lock.
        earlier::start(path, resume)?;
        std::fs::create_dir_all(path).map_err(|e| Error::io(path, e))?;
        let lock_path = path.join("run.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| Error::io(&lock_path, e))?;
        let busy = "another process is training in this folder; wait for it or choose another --out";
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

    /// The folder at `path` as other ranks than 0 see it: writing does nothing, and it need not be there.
    pub fn elsewhere(path: &Path) -> Self {
        Self { path: path.to_owned(), files: None }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the resolved configuration.
    ///
    /// # Errors
    /// When the disk is full or the folder cannot be written.
    pub fn write_config(&self, toml: &str) -> Result<()> {
        if self.files.is_none() {
            return Ok(());
        }
        Ok(write_atomically(&self.path.join("config.toml"), toml.as_bytes())?)
    }

    /// Appends one line to `metrics.jsonl` (`kind`: `train` or `val`; `step`: steps done; then `values`) and
    /// those values that are one number to the TensorBoard events.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a value is not finite: nothing is written then. When the disk is full.
    pub fn log(&mut self, kind: &str, step: u64, values: &Map<String, Value>) -> Result<()> {
        require_finite(kind, values)?;
        let Some(files) = &mut self.files else { return Ok(()) };
        let mut object = Map::new();
        object.insert("kind".into(), kind.into());
        object.insert("step".into(), step.into());
        object.extend(values.clone());
        let line = format!("{}\n", Value::Object(object));
        let path = self.path.join("metrics.jsonl");
        files.metrics.write_all(line.as_bytes()).map_err(|e| Error::io(&path, e))?;
        let scalars: Vec<(String, f32)> = values
            .iter()
            .filter_map(|(key, value)| Some((format!("{kind}/{key}"), value.as_f64()? as f32)))
            .collect();
        files.events.scalars(step, &scalars)
    }

    /// Drops the lines after `step` (written after the checkpoint that a resume starts from) and a torn
    /// last line. Says what else is missing: a sentence, or nothing.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn forget_after(&mut self, step: u64) -> Result<Option<String>> {
        let Some(files) = &mut self.files else { return Ok(None) };
        let path = self.path.join("metrics.jsonl");
        // A tail that a power cut left may be anything.
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut kept = String::with_capacity(text.len());
        let (mut unreadable, mut torn) = (0, false);
        // An editor may have put a byte-order mark before the first line.
        for line in text.trim_start_matches('\u{feff}').lines().filter(|line| !line.trim().is_empty()) {
            unreadable += usize::from(torn);
            let at = serde_json::from_str::<Value>(line).ok().and_then(|v| v.get("step")?.as_u64());
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
            Some(format!("{path}: the lines until step {step} are missing; the curves begin there"))
        } else if unreadable > 0 {
            Some(format!("{path}: {unreadable} lines that are not JSON objects with a step are dropped"))
        } else {
            None
        })
    }

    /// Flushes metrics and events to the disk.
    ///
    /// # Errors
    /// When the disk is full.
    pub fn sync(&mut self) -> Result<()> {
        let Some(files) = &mut self.files else { return Ok(()) };
        let path = self.path.join("metrics.jsonl");
        files.metrics.sync_data().map_err(|e| Error::io(&path, e))?;
        files.events.flush()
    }
}
