//! Checkpoints: one folder per step, complete once it has `state.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::Tensor;
use var_tokenizer::files::{sha256_of, sync_folder_of, write_atomically};
use var_tokenizer::weights::safetensors;

use crate::error::{Error, Result};

/// Name of the model's file in a checkpoint.
pub(crate) const MODEL_FILE: &str = "model.safetensors";
/// Name of the optimizer's file in a checkpoint.
pub(crate) const OPTIMIZER_FILE: &str = "optimizer.safetensors";
/// The folder of a run that holds its checkpoints.
pub(crate) const FOLDER: &str = "checkpoints";
/// Start of the name of a checkpoint.
pub(crate) const PREFIX: &str = "step-";
/// Start of the name of a checkpoint that was set aside.
const ASIDE: &str = "damaged-";
/// File with the name of the last checkpoint. It shows whether a run without checkpoints lost them.
const LAST: &str = ".last";

/// The content of `state.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Steps done.
    pub step: u64,
    /// Seconds of training so far, over all processes that worked on the run.
    pub seconds: f64,
    /// SHA-256 of the other files of the checkpoint.
    pub files: BTreeMap<String, String>,
    /// Numbers of the task.
    #[serde(default)]
    pub task: BTreeMap<String, f64>,
}

/// A checkpoint on the disk.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// Its state.
    pub state: State,
}

/// A checkpoint that is damaged.
#[derive(Debug)]
pub(crate) struct Damaged {
    /// Its folder.
    pub path: PathBuf,
    /// The reason.
    pub reason: String,
}

/// Tensors and metadata of one file.
pub(crate) type FileContents = (BTreeMap<String, Tensor>, BTreeMap<String, String>);

/// Writes a checkpoint into `run/checkpoints/step-XXXXXXXX`, deletes the oldest ones beyond `keep` (at least one stays),
/// and gives its folder.
///
/// Fills a folder with another name, `state.json` last, then renames it: a checkpoint is whole or absent.
///
/// # Errors
/// When the disk is full or the folder cannot be written; earlier checkpoints stay.
pub(crate) fn save(
    run: &Path,
    files: &BTreeMap<&str, FileContents>,
    mut state: State,
    keep: usize,
) -> Result<PathBuf> {
    let folder = run.join(FOLDER);
    let name = format!("{PREFIX}{:08}", state.step);
    let (target, partial) = (folder.join(&name), folder.join(format!(".{name}.partial")));
    let io = |path: &Path| {
        let path = path.to_owned();
        move |e| Error::io(&path, e)
    };
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(io(&partial))?;
    }
    std::fs::create_dir_all(&partial).map_err(io(&partial))?;
    let written = (|| -> Result<()> {
        for (file, (tensors, metadata)) in files {
            let digest = safetensors::write(&partial.join(file), tensors, metadata)?;
            state.files.insert((*file).to_owned(), digest);
        }
        let text = serde_json::to_string_pretty(&state).map_err(|e| Error::config(e.to_string()))?;
        Ok(write_atomically(&partial.join("state.json"), text.as_bytes())?)
    })();
    if let Err(e) = written {
        // Frees the disk. The first error counts.
        let _ = std::fs::remove_dir_all(&partial);
        return Err(e);
    }
    if target.exists() {
        std::fs::remove_dir_all(&target).map_err(io(&target))?;
    }
    std::fs::rename(&partial, &target).map_err(io(&target))?;
    // The new name must be on the disk before older checkpoints are deleted.
    sync_folder_of(&target);
    write_atomically(&folder.join(LAST), name.as_bytes())?;
    let mut older: Vec<PathBuf> = list(run)?.into_iter().filter(|path| *path < target).collect();
    while older.len() + 1 > keep.max(1) {
        let oldest = older.remove(0);
        std::fs::remove_dir_all(&oldest).map_err(io(&oldest))?;
    }
    Ok(target)
}

/// Renames a damaged checkpoint to `damaged-step-XXXXXXXX`: it no longer counts, and nothing is lost.
///
/// # Errors
/// When the folder cannot be renamed.
pub(crate) fn set_aside(path: &Path) -> Result<()> {
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let to = path.with_file_name(format!("{ASIDE}{name}"));
    if to.exists() {
        std::fs::remove_dir_all(&to).map_err(|e| Error::io(&to, e))?;
    }
    std::fs::rename(path, &to).map_err(|e| Error::io(path, e))
}

/// Removes incomplete checkpoints of processes that were killed while they saved.
///
/// # Errors
/// When the folder cannot be read or written.
pub(crate) fn clear_partial(run: &Path) -> Result<()> {
    let folder = run.join(FOLDER);
    for entry in std::fs::read_dir(&folder).map_err(|e| Error::io(&folder, e))?.flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with(".step-") {
            std::fs::remove_dir_all(entry.path()).map_err(|e| Error::io(entry.path(), e))?;
        }
    }
    Ok(())
}

/// Names of all checkpoints: first those set aside, then the others; in each group the oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn names(run: &Path) -> Result<Vec<String>> {
    let folder = run.join(FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(&folder, e)),
    };
    let names = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> =
        names.filter(|name| name.starts_with(PREFIX) || name.starts_with(ASIDE)).collect();
    names.sort();
    Ok(names)
}

/// Folders of complete checkpoints, oldest first.
fn list(run: &Path) -> Result<Vec<PathBuf>> {
    let found = names(run)?.into_iter().filter(|name| name.starts_with(PREFIX));
    let paths = found.map(|name| run.join(FOLDER).join(name));
    Ok(paths.filter(|path| path.join("state.json").exists()).collect())
}

/// Whether the run has no complete checkpoint.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn is_empty(run: &Path) -> Result<bool> {
    Ok(list(run)?.is_empty())
}

/// Name of the last checkpoint; `None` before the first one, and in runs of versions that did not note it.
pub(crate) fn last_saved(run: &Path) -> Option<String> {
    let name = std::fs::read_to_string(run.join(FOLDER).join(LAST)).ok()?;
    Some(name.trim().to_owned()).filter(|name| name.starts_with(PREFIX))
}

/// The newest checkpoint whose files have the SHA-256 that its state names, and the damaged ones that are newer.
///
/// # Errors
/// When the folder cannot be read.
pub(crate) fn newest(run: &Path) -> Result<(Option<Checkpoint>, Vec<Damaged>)> {
    let mut skipped = Vec::new();
    for path in list(run)?.into_iter().rev() {
        match verify(&path) {
            Ok(state) => return Ok((Some(Checkpoint { path, state }), skipped)),
            Err(e) => skipped.push(Damaged { path, reason: e.to_string() }),
        }
    }
    Ok((None, skipped))
}

fn verify(path: &Path) -> Result<State> {
    let state_path = path.join("state.json");
    let text = std::fs::read_to_string(&state_path).map_err(|e| Error::io(&state_path, e))?;
    let state: State =
        serde_json::from_str(&text).map_err(|e| Error::file(&state_path, format!("is damaged ({e})")))?;
    // A state that names no file would pass.
    for file in [MODEL_FILE, OPTIMIZER_FILE] {
        if !state.files.contains_key(file) {
            return Err(Error::file(&state_path, format!("is damaged (it does not name {file})")));
        }
    }
    for (file, expected) in &state.files {
        let file_path = path.join(file);
        if sha256_of(&file_path)? != *expected {
            return Err(Error::file(&file_path, "does not have the checksum that state.json names"));
        }
    }
    Ok(state)
}

#[cfg(test)]
mod tests {
    use var_tokenizer::random::Stream;

    use super::*;

    #[test]
    fn numbers_of_a_state_come_back_bit_by_bit() {
        let stream = Stream::new("numbers", 1);
        let numbers =
            (0..10_000).map(|i| (format!("{i}"), stream.normal(2 * i) * stream.normal(2 * i + 1).exp()));
        let state = State { step: 1, seconds: 0.1 + 0.2, files: BTreeMap::new(), task: numbers.collect() };
        let back: State = serde_json::from_str(&serde_json::to_string(&state).unwrap()).unwrap();
        assert_eq!(back, state);
    }
}
