//! What earlier work left in a run folder, and how a run may begin there. Missing files do not mean that no work was
//! done.

use std::path::Path;

use crate::average::PUBLISHED_FILE;
use crate::checkpoint;
use crate::checkpoint::MODEL_FILE;
use crate::error::{Error, Result};
use crate::records::step_of;

/// How a run begins in its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// The folder holds no earlier work.
    New,
    /// An earlier process ended before its first checkpoint: a resume starts over, with any settings.
    Over,
    /// The folder has a checkpoint to resume from.
    Resume,
}

/// The tokenizer's file. A transformer's run has it from the start, with the class names; a tokenizer's run has it at the
/// end.
const TOKENIZER: &str = "tokenizer.safetensors";

/// How a run begins in the folder `path`, with or without `resume`. Changes nothing.
///
/// # Errors
/// When a new run would overwrite an old one; when there is nothing to resume; when files that a resume needs are missing
/// although others show earlier work; when the folder cannot be read.
pub(crate) fn start(path: &Path, resume: bool) -> Result<Start> {
    if path.exists() && !path.is_dir() {
        return Err(Error::file(path, "is a file, not a run folder; choose a folder"));
    }
    let there = |name: &str| path.join(name).exists();
    let outputs: Vec<&str> = ["result.json", MODEL_FILE, PUBLISHED_FILE]
        .into_iter()
        .filter(|name| there(name))
        .chain(Some(TOKENIZER).filter(|name| there(name) && !there("classes.json")))
        .collect();
    let logged = last_step(path)?;
    let folders = checkpoint::names(path)?;
    let last = checkpoint::last_saved(path);
    let mut evidence: Vec<String> = outputs.iter().map(|name| (*name).to_owned()).collect();
    evidence.extend(logged.map(|step| format!("metrics.jsonl until step {step}")));
    evidence.extend(folders.last().or(last.as_ref()).map(|name| format!("checkpoint {name}")));
    let evidence = evidence.join(", ");
    let lost = logged.is_some() && !there(checkpoint::FOLDER);
    let saved = !outputs.is_empty() || !folders.is_empty() || last.is_some() || lost;
    match (resume, there("config.toml")) {
        (false, _) if evidence.is_empty() => Ok(Start::New),
        (false, _) if saved => Err(Error::file(
            path,
            format!("already holds a run ({evidence}); resume it, or choose another run folder"),
        )),
        (false, _) => Err(Error::file(
            path,
            format!(
                "already holds a run that ended before its first checkpoint ({evidence}); resume it to start over, \
                 or choose another run folder"
            ),
        )),
        (true, false) if evidence.is_empty() => {
            Err(Error::file(path, "holds no run to resume; start one without resuming"))
        }
        (true, false) => Err(Error::file(
            path.join("config.toml"),
            format!(
                "is missing, but the folder holds a run ({evidence}), which needs its settings to resume; restore the \
                 file, or start over in another run folder"
            ),
        )),
        (true, true) if !checkpoint::is_empty(path)? => Ok(Start::Resume),
        (true, true) if saved => Err(Error::file(
            path.join(checkpoint::FOLDER),
            format!(
                "holds no checkpoint to resume from, but the run saved some ({evidence}); restore the folder, or start \
                 over in another run folder"
            ),
        )),
        (true, true) => Ok(Start::Over),
    }
}

/// The step of the last readable line of `metrics.jsonl`; `None` when the file has no line.
fn last_step(run: &Path) -> Result<Option<u64>> {
    let path = run.join("metrics.jsonl");
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(&path, e)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().rev().map(|line| line.trim_start_matches('\u{feff}'));
    Ok(if text.trim().is_empty() { None } else { Some(lines.filter_map(step_of).next().unwrap_or(0)) })
}
