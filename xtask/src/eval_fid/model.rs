//! What is sampled: the model of a run folder, or a model by its file or name.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::runs;
use crate::error::ChildFailed;

/// A model to sample.
#[derive(Debug)]
pub(super) struct Model {
    /// The flag of `var-model sample` that chooses it.
    flag: &'static str,
    value: OsString,
    /// Number of its classes.
    pub(super) classes: usize,
    /// The folder of its samples and scores, unless the user names one.
    pub(super) evaluation: PathBuf,
}

impl Model {
    /// The model of a finished run.
    ///
    /// # Errors
    /// When its list of classes is missing or damaged.
    pub(super) fn of_run(run: &Path) -> Result<Self> {
        let (classes, evaluation) = (runs::classes(run)?, run.join("evaluation"));
        Ok(Self { flag: "--run", value: run.into(), classes, evaluation })
    }

    /// The model that `name` means to `var-model`, which fetches published weights.
    ///
    /// # Errors
    /// When var-model cannot open it, or it is not a transformer.
    pub(super) fn named(name: &OsStr, program: &Path) -> Result<Self> {
        let mut inspect = Command::new(program);
        let output = inspect.arg("inspect").arg(name).arg("--json").stderr(Stdio::inherit()).output();
        let output = output.with_context(|| format!("cannot start {}", program.display()))?;
        if !output.status.success() {
            let code = output.status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
            return Err(anyhow::Error::new(ChildFailed(code)));
        }
        let about: Value =
            serde_json::from_slice(&output.stdout).context("var-model inspect printed no JSON")?;
        let parts = about["parts"].as_array().map(Vec::as_slice).unwrap_or_default();
        let classes = parts.iter().find_map(|part| part["config"]["classes"].as_u64());
        let Some(classes) = classes.and_then(|classes| usize::try_from(classes).ok()) else {
            bail!("{}: var-model finds no transformer in it", Path::new(name).display());
        };
        // `hf:OWNER/REPO/FILE@REVISION`, a path or a word, as the name of one folder.
        let letters =
            name.to_string_lossy().replace(|c: char| !c.is_alphanumeric() && !"-_.".contains(c), "-");
        let evaluation = Path::new("evaluation").join(letters);
        Ok(Self { flag: "--model", value: name.to_owned(), classes, evaluation })
    }

    /// The run folder, if it is the model of a run.
    pub(super) fn run(&self) -> Option<&Path> {
        (self.flag == "--run").then(|| Path::new(&self.value))
    }

    /// The flag and its value.
    pub(super) fn flags(&self) -> [&OsStr; 2] {
        [self.flag.as_ref(), &self.value]
    }

    /// What to call it in messages.
    pub(super) fn name(&self) -> std::path::Display<'_> {
        Path::new(&self.value).display()
    }
}
