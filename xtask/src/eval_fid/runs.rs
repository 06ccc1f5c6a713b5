//! Run folders and sweep folders: which runs are finished, and what they contain.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::error::bad_use;

/// The run in `folder`, or the finished runs of the sweep in it. Prints which runs are skipped.
pub(super) fn checked(folder: &Path) -> Result<Vec<PathBuf>> {
    if is_run(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let lacking = lacking(folder);
    if lacking.len() < NEEDED.len() {
        return Err(bad_use(format!(
            "{}: the run folder lacks {}; {}",
            folder.display(),
            lacking.join(" and "),
            if lacking.contains(&"config.toml") || lacking.contains(&"classes.json") {
                "restore the files"
            } else {
                "finish it with `var-train model … --resume`"
            }
        )));
    }
    let mut runs = folders_in(&folder.join("runs"));
    runs.sort();
    let (runs, unfinished): (Vec<PathBuf>, Vec<PathBuf>) = runs.into_iter().partition(|run| is_run(run));
    if runs.is_empty() {
        return Err(bad_use(format!(
            "{} is neither a run folder of a finished `var-train model` (with model.safetensors and classes.json) nor a \
             sweep folder with such runs",
            folder.display()
        )));
    }
    for run in unfinished {
        eprintln!("xtask: skips {}: it lacks {}", run.display(), self::lacking(&run).join(" and "));
    }
    for run in missing_runs(folder) {
        eprintln!("xtask: skips {}: results.jsonl names it, but the folder is missing", run.display());
    }
    Ok(runs)
}

/// Run folders that are in the results of the sweep in `folder`, but missing.
fn missing_runs(folder: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(folder.join("results.jsonl")).unwrap_or_default();
    let names = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line.trim_start_matches('\u{feff}')).ok()?;
        Some(folder.join(line["run"].as_str()?))
    });
    names.filter(|run| !run.is_dir()).collect()
}

/// The sweep folder that `run` belongs to.
pub(super) fn sweep_of(run: &Path) -> Option<PathBuf> {
    let run = run.canonicalize().ok()?;
    let sweep = run.parent().filter(|runs| runs.ends_with("runs"))?.parent()?;
    sweep.join("results.jsonl").is_file().then(|| sweep.to_owned())
}

/// The folders in a folder.
fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The files of a run that is finished.
const NEEDED: [&str; 3] = ["config.toml", "classes.json", "model.safetensors"];

/// The files of a finished run that a folder lacks.
fn lacking(folder: &Path) -> Vec<&'static str> {
    NEEDED.into_iter().filter(|name| !folder.join(name).is_file()).collect()
}

/// Whether a folder is a finished run.
fn is_run(folder: &Path) -> bool {
    lacking(folder).is_empty()
}

/// The run that finished last, in `folder` or in the `runs/` of a sweep below it.
pub(super) fn newest(folder: &Path) -> Result<PathBuf> {
    let mut found = folders_in(folder);
    found.extend(found.clone().iter().flat_map(|sweep| folders_in(&sweep.join("runs"))));
    let finished = found.into_iter().filter(|path| is_run(path)).filter_map(|path| {
        let time = path.join("model.safetensors").metadata().and_then(|data| data.modified()).ok()?;
        Some((time, path))
    });
    let newest = finished.max().map(|(_, path)| path);
    newest.ok_or_else(|| {
        bad_use(format!(
            "{}: no finished run; train one with `cargo xtask sweep`, give one with --run, or give images with --samples",
            folder.display()
        ))
    })
}

/// The token file of a run. It says which images trained it, and which are held out.
pub(super) fn tokens_of(run: &Path) -> Result<PathBuf> {
    let path = run.join("config.toml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let text = text.trim_start_matches('\u{feff}');
    let line = text.lines().find_map(|line| line.strip_prefix("data = "));
    let data = line.map(|value| PathBuf::from(value.trim().trim_matches(['"', '\''])));
    match data {
        Some(data) if data.is_file() => Ok(data),
        data => Err(bad_use(format!(
            "{}: the token file of the run is missing{}; it says which images trained it. Restore it, or give --reference",
            path.display(),
            data.map(|data| format!(" ({})", data.display())).unwrap_or_default()
        ))),
    }
}

/// Number of classes of a run's model.
pub(super) fn classes(run: &Path) -> Result<usize> {
    let path = run.join("classes.json");
    let text = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let names: Option<usize> =
        serde_json::from_slice::<Value>(&text).ok().and_then(|names| names.as_array().map(Vec::len));
    match names {
        Some(count @ 1..) => Ok(count),
        _ => Err(bad_use(format!("{}: expected a list of class names", path.display()))),
    }
}
