//! What both trainers need besides settings and data: the run folder, device and precision.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tch::{Device, Kind};
use var_tokenizer::files::{copy_atomically, write_atomically};
use var_tokenizer::torch::{DeviceChoice, Precision, guarded};

use crate::distributed::{Place, Ranks, device_of, refuse, require_divisible};
use crate::earlier::{self, Start};
use crate::error::{Error, Result};
use crate::run::RunFolder;
use crate::settings::{Given, Training};

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
    /// The place of this process among the ranks; a launcher and a single process have none.
    pub place: Option<Place>,
    /// Number of ranks.
    pub ranks: usize,
    /// Time after which a rank that does not answer is lost.
    pub timeout: Duration,
    /// Divides the optimizer's moments over the ranks.
    pub zero: bool,
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
            place: None,
            ranks: 1,
            timeout: Duration::from_secs(120),
            zero: false,
        }
    }

    /// Whether this process writes the run folder, or starts those that do.
    pub fn leads(&self) -> bool {
        self.place.as_ref().is_none_or(|place| place.rank == 0)
    }

    /// The device of this process, after checking that the ranks can share a batch.
    pub fn device_of_rank(&self, training: &Training) -> Result<Device> {
        require_divisible(training.batch, training.accumulation, self.ranks)?;
        guarded(|| device_of(self.device, self.place.as_ref()))
    }

    /// What `prepare` gives. If it fails, the other ranks learn the reason.
    pub fn prepared<T>(&self, prepare: impl FnOnce() -> Result<T>) -> Result<T> {
        guarded(prepare).inspect_err(|e| self.place.iter().for_each(|place| refuse(place, e)))
    }

    /// Joins the other ranks, which must have the same `settings`, and leaves them after `work`.
    pub fn together<T>(
        &self,
        settings: &impl Serialize,
        device: Device,
        work: impl FnOnce(Ranks) -> Result<T>,
    ) -> Result<T> {
        let same = serde_json::to_string(&(settings, self.zero)).map_err(|e| Error::config(e.to_string()))?;
        let ranks = Ranks::join(self.place.as_ref(), &same, device, self.timeout)?;
        let outcome = guarded(|| work(ranks));
        ranks.leave(&outcome);
        outcome
    }

    /// The run folder: rank 0 alone writes it.
    pub fn folder(&self, ranks: Ranks) -> Result<RunFolder> {
        if ranks.leads() {
            RunFolder::open(&self.out, self.resume)
        } else {
            Ok(RunFolder::elsewhere(&self.out))
        }
    }

    /// The precision of all ranks, after checking that they have the same `files`. Rank 0 chooses, or takes the precision
    /// `found` in the run that it resumes: another choice on another rank would give other sums.
    pub fn agree(
        &self,
        ranks: Ranks,
        device: Device,
        (found, product): (Option<Kind>, [i64; 3]),
        files: &str,
    ) -> Result<Kind> {
        let word = ranks.told_by_leader(|| {
            let kind = match found {
                Some(kind) => kind,
                None => self.precision.resolve(device, product)?,
            };
            Ok(format!("{} {files}", Precision::name_of(kind)))
        })?;
        let (name, others) = word.split_once(' ').unwrap_or((&word, ""));
        let Some(compute) = name.parse::<Precision>().ok().and_then(Precision::kind) else {
            return Err(Error::Distributed(format!(
                "rank 0 chose the precision '{name}', which this rank does not know; use one version on all ranks"
            )));
        };
        if others != files {
            return Err(Error::config(
                "the data or the tokenizer differ from those of rank 0; give all ranks the same files",
            ));
        }
        Ok(compute)
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
