//! Missing files of an earlier call that unfinished runs need.

use std::path::Path;

use super::evidence::has_checkpoint;
use super::state::Folder;
use super::training::begun;
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::request::TokenizerSource;

/// Refuses to resume if unfinished runs need a missing file of an earlier call. `again` lists what starts over.
///
/// # Errors
/// Names the file, and how to resume or start over.
pub(crate) fn nothing_lost(
    folder: &Folder,
    plan: &Plan,
    done: impl Fn(&str) -> bool,
    again: &[String],
) -> Result<()> {
    let path = folder.path();
    let ahead: Vec<&str> = plan.runs.iter().map(|r| r.name.as_str()).filter(|name| !done(name)).collect();
    if ahead.is_empty() {
        return Ok(());
    }
    let starts_over = |name: &str| again.iter().any(|a| a == name);
    let tokenizer = path.join("tokenizer/tokenizer.safetensors");
    if matches!(plan.tokenizer, TokenizerSource::Trained { .. })
        && folder.has_stage("tokenizer")
        && !tokenizer.is_file()
    {
        return Err(Error::file(
            tokenizer,
            "missing, but sweep.json says that it was trained, and the tokens depend on it. Put it back to resume, or \
             start a new sweep with another --out",
        ));
    }
    let tokens = path.join("tokens.h5");
    if folder.has_stage("tokens") && !tokens.is_file() && !starts_over("tokens") {
        return Err(Error::file(
            tokens,
            "missing, but sweep.json says that the images were encoded. Put it back to resume, or encode again with \
             --start-over tokens",
        ));
    }
    if !folder.has_stage("tokenizer") {
        training(folder, "tokenizer", &path.join("tokenizer")).map_err(|(place, what)| {
            Error::file(place, format!("{what} start a new sweep with another --out"))
        })?;
    }
    for name in ahead.into_iter().filter(|name| !starts_over(name)) {
        training(folder, name, &path.join("runs").join(name)).map_err(|(place, what)| {
            Error::file(place, format!("{what} train {name} from the beginning with --start-over {name}"))
        })?;
    }
    Ok(())
}

/// What an unfinished training has lost: the path, and the message without its last part.
fn training(
    folder: &Folder,
    name: &str,
    run: &Path,
) -> std::result::Result<(), (std::path::PathBuf, String)> {
    let (config, saved) = (run.join("config.toml"), has_checkpoint(run));
    if run.join("result.json").is_file() {
        return Ok(());
    }
    if saved && !begun(run) {
        return Err((config, "missing, but the run has checkpoints. Put it back to resume, or".into()));
    }
    if folder.has_saved(name) && !saved {
        let lost = if run.is_dir() { run.join("checkpoints") } else { run.to_owned() };
        return Err((
            lost,
            "missing or empty, but sweep.json says that this training saved a checkpoint. Put it back to resume, or"
                .into(),
        ));
    }
    Ok(())
}
