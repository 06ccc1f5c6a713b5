//! The state of a sweep, read from its folder. The sweep may run elsewhere.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde::Serialize;
use var_train::records::{Losses, MetricsLine, StepReport};

use super::state::read_record;
use crate::error::{Error, Result};
use crate::results_file;

/// The end of a file of metrics that is read: a line has less than this.
const TAIL: u64 = 64 << 10;

/// The state of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SweepStatus {
    /// Whether the images are encoded.
    pub tokens: bool,
    /// The runs, as planned by the last call.
    pub runs: Vec<RunStatus>,
}

/// The state of a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunStatus {
    /// Its name.
    pub name: String,
    /// What is known of it.
    pub state: RunState,
    /// The last step that it logged.
    pub step: Option<u64>,
    /// All its steps.
    pub steps: Option<u64>,
    /// The validation loss of a finished run, else the last training loss.
    pub loss: Option<f64>,
    /// Seconds of training of a finished run, else seconds since its last line.
    pub seconds: Option<f64>,
}

/// What is known of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// Its result is there.
    Finished,
    /// It began. It may run, or have stopped: see the time of its last line.
    Begun,
    /// It has not begun.
    Waiting,
}

impl SweepStatus {
    /// Reads the folder of a sweep.
    ///
    /// # Errors
    /// When it has no sweep, or a file is damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let Some(record) = read_record(folder)? else {
            return Err(Error::file(folder, "has no sweep: sweep.json is missing"));
        };
        let path = folder.join("results.jsonl");
        let done = if path.exists() { results_file::read(&path)?.lines } else { Vec::new() };
        let mut names = record.planned.clone();
        let others = record.runs.keys().chain(done.iter().map(|line| &line.name));
        for name in others {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        let run = |name: String| {
            if let Some(line) = done.iter().find(|line| line.name == name) {
                return RunStatus {
                    name,
                    state: RunState::Finished,
                    step: Some(line.steps),
                    steps: Some(line.steps),
                    loss: Some(line.val_loss_all),
                    seconds: Some(line.seconds),
                };
            }
            let steps = record.runs.get(&name).and_then(|run| run.get("steps")?.parse().ok());
            let metrics = folder.join("runs").join(&name).join("metrics.jsonl");
            let last = last_step(&metrics);
            let age = std::fs::metadata(&metrics).and_then(|data| data.modified()).ok();
            RunStatus {
                state: if age.is_some() { RunState::Begun } else { RunState::Waiting },
                step: last.map(|(step, _)| step),
                loss: last.map(|(_, loss)| loss),
                seconds: age.map(|time| {
                    SystemTime::now().duration_since(time).unwrap_or(Duration::ZERO).as_secs_f64()
                }),
                steps,
                name,
            }
        };
        Ok(Self { tokens: record.stages.tokens.is_some(), runs: names.into_iter().map(run).collect() })
    }

    /// Whether every run is finished.
    pub fn is_finished(&self) -> bool {
        !self.runs.is_empty() && self.runs.iter().all(|run| run.state == RunState::Finished)
    }
}

/// The last training step of a file of metrics, and its loss.
fn last_step(path: &Path) -> Option<(u64, f64)> {
    let mut file = std::fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    String::from_utf8_lossy(&bytes).lines().rev().find_map(|line| match serde_json::from_str(line) {
        Ok(MetricsLine::Train(StepReport { step, losses: Losses::Model(losses), .. })) => {
            Some((step, losses.loss_all))
        }
        _ => None,
    })
}
