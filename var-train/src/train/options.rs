//! What both trainers need besides settings and data: the run folder, device and precision.

use std::path::{Path, PathBuf};

use serde::Serialize;
use var_tokenizer::files::{copy_atomically, write_atomically};
use var_tokenizer::torch::{DeviceChoice, Precision};

use crate::earlier::{self, Start};
use crate::error::{Error, Result};
use crate::settings::Given;

/// The run folder, and where and how to compute.
#[derive(Debug, Clone)]
pub(super) struct Options {
    /// The run folder.
    pub out: PathBuf,
    /// Resumes the run in `out`.
    pub resume: bool,
    /// The device.
    pub device: DeviceChoice,
    /// The precision of the products.
    pub precision: Precision,
    /// The settings that a person gave.
    pub given: Given,
}

impl Options {
    /// A new run in f32 on the processor.
    pub fn new(out: &Path) -> Self {
        Self {
            out: out.to_owned(),
            resume: false,
            device: DeviceChoice::Cpu,
            precision: Precision::F32,
            given: Given::default(),
        }
    }

    /// How the run begins in its folder. Changes nothing.
    ///
    /// # Errors
    /// As [`earlier::start`]; when the folder cannot be created or written.
    pub fn start(&self) -> Result<Start> {
        let start = earlier::start(&self.out, self.resume)?;
        let existing = self.out.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        tempfile::tempfile_in(existing).map_err(|e| Error::io(existing, e))?;
        Ok(start)
    }

    /// Copies `file` of the last checkpoint to `name` in the run folder.
    pub fn publish(&self, checkpoint: &Path, file: &str, name: &str) -> Result<PathBuf> {
        let to = self.out.join(name);
        copy_atomically(&checkpoint.join(file), &to)?;
        Ok(to)
    }

    /// Writes `result.json`.
    pub fn write_result(&self, result: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(result).map_err(|e| Error::config(e.to_string()))?;
        Ok(write_atomically(&self.out.join("result.json"), text.as_bytes())?)
    }
}

/// The error for a missing input. `what` names the input.
pub(super) fn missing(e: var_tokenizer::Error, what: &str) -> Error {
    match e {
        var_tokenizer::Error::Io { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::file(path, format!("no such file or folder; expected {what}"))
        }
        e => e.into(),
    }
}
