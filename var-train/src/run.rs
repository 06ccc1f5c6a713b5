//! The run folder: one process at a time, configuration, metrics.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use var_tokenizer::files::{lock, write_atomically};
use var_tokenizer::locks::Lock;

use crate::checkpoint;
use crate::error::{Error, Result};
use crate::events::EventWriter;

/// A folder that this process alone may write to; or, on other ranks than 0, a name that nothing is written
/// to.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    files: Option<Files>,
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
    /// When another process has it, when a new run would overwrite an old one, or when there is nothing
    /// to resume.
    pub fn open(path: &Path, resume: bool) -> Result<Self> {
        if resume && !path.join("config.toml").exists() {
            return Err(Error::file(path, "holds no run to resume; leave --resume away to start one"));
        }
        std::fs::create_dir_all(path.join("checkpoints")).map_err(|e| Error::io(path, e))?;
        let lock_path = path.join("run.lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(|e| Error::io(&lock_path, e))?;
        let busy = "another process is training in this folder; wait for it or choose another --out";
        let lock = lock(&file, &lock_path, busy)?;
        checkpoint::clear_partial(path)?;
        let metrics_path = path.join("metrics.jsonl");
        let begun = metrics_path.metadata().is_ok_and(|m| m.len() > 0) || !checkpoint::is_empty(path)?;
        if !resume && begun {
            return Err(Error::file(
                path,
                "already holds a run; go on with --resume or choose another --out",
            ));
        }
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
    /// When the disk is full.
    pub fn log(&mut self, kind: &str, step: u64, values: &Map<String, Value>) -> Result<()> {
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
    /// last line.
    ///
    /// # Errors
    /// When the file cannot be read or written.
    pub fn forget_after(&mut self, step: u64) -> Result<()> {
        let Some(files) = &mut self.files else { return Ok(()) };
        let path = self.path.join("metrics.jsonl");
        // A tail that a power cut left may be anything.
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let text = String::from_utf8_lossy(&bytes);
        let mut kept = String::with_capacity(text.len());
        for line in text.lines() {
            let at = serde_json::from_str::<Value>(line).ok().and_then(|v| v.get("step")?.as_u64());
            if at.is_some_and(|at| at <= step) {
                kept.push_str(line);
                kept.push('\n');
            }
        }
        write_atomically(&path, kept.as_bytes())?;
        files.metrics = OpenOptions::new().append(true).open(&path).map_err(|e| Error::io(&path, e))?;
        Ok(())
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
