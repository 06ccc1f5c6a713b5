//! Missing files of an earlier call that unfinished runs need.

use std::path::Path;

use super::evidence::has_checkpoint;
use super::stages::TRAINED;
use super::state::SweepFolder;
use super::training::begun;
use crate::error::{Error, Remedy, Result};
use crate::plan::SweepPlan;
use crate::request::TokenizerSource;

/// Refuses to resume if an unfinished run needs a file of an earlier call that is missing. `again` lists what starts over.
///
/// # Errors
/// Names the file, and how to resume or start over.
pub(crate) fn nothing_lost(
    folder: &SweepFolder,
    plan: &SweepPlan,
    done: impl Fn(&str) -> bool,
    again: &[String],
) -> Result<()> {
    let path = folder.path();
    let ahead: Vec<&str> = plan.runs.iter().map(|r| r.name.as_str()).filter(|name| !done(name)).collect();
    if ahead.is_empty() {
        return Ok(());
    }
    let starts_over = |name: &str| again.iter().any(|a| a == name);
    let tokenizer = path.join(TRAINED);
    if matches!(plan.tokenizer, TokenizerSource::Trained { .. })
        && folder.stages().tokenizer.is_some()
        && !tokenizer.is_file()
    {
        return Err(Error::cannot_resume(
            tokenizer,
            "missing, but sweep.json says that it was trained, and the tokens depend on it. Put it back to resume",
            Remedy::NewSweep,
        ));
    }
    let tokens = path.join("tokens.h5");
    if folder.stages().tokens.is_some() && !tokens.is_file() && !starts_over("tokens") {
        return Err(Error::cannot_resume(
            tokens,
            "missing, but sweep.json says that the images were encoded. Put it back to resume",
            Remedy::StartOver("tokens".into()),
        ));
    }
    if folder.stages().tokenizer.is_none() {
        training(folder, "tokenizer", &path.join("tokenizer"), Remedy::NewSweep)?;
    }
    for name in ahead.into_iter().filter(|name| !starts_over(name)) {
        training(folder, name, &path.join("runs").join(name), Remedy::StartOver(name.into()))?;
    }
    Ok(())
}

/// Refuses to resume the unfinished training `name` in the folder `run` if it lost files.
fn training(folder: &SweepFolder, name: &str, run: &Path, remedy: Remedy) -> Result<()> {
    let saved = has_checkpoint(run);
    if run.join("result.json").is_file() {
        return Ok(());
    }
    if saved && !begun(run) {
        let message = "missing, but the run has checkpoints. Put it back to resume";
        return Err(Error::cannot_resume(run.join("config.toml"), message, remedy));
    }
    if folder.has_saved(name) && !saved {
        let lost = if run.is_dir() { run.join("checkpoints") } else { run.to_owned() };
        let message = "missing or empty, but sweep.json says that this training saved a checkpoint. Put it back to resume";
        return Err(Error::cannot_resume(lost, message, remedy));
    }
    Ok(())
}
