//! What the subcommands do, apart from reading flags.

mod model;
mod tokenizer;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tch::{Device, Kind};
use toml::Table;
use var_tokenizer::files::{copy_atomically, write_atomically};
use var_tokenizer::memory;
use var_tokenizer::progress::{Progress, say, tell};
use var_tokenizer::torch::{DeviceChoice, Precision, guarded, product_peak};

use crate::distributed::check::check;
use crate::distributed::{Place, Ranks};
use crate::earlier::{self, Start};
use crate::error::{Error, Result};
use crate::layers::{Given, from_table, overlay, set, to_table};
use crate::presets;
use crate::run::RunFolder;

pub use model::{check_model, model};
pub use tokenizer::tokenizer;

/// What every training command is told.
#[derive(Debug)]
pub struct Common {
    /// The run folder.
    pub out: PathBuf,
    /// Preset name.
    pub preset: String,
    /// TOML file over the preset.
    pub config: Option<PathBuf>,
    /// `key=value` over both.
    pub set: Vec<String>,
    /// Go on with the run in `out`.
    pub resume: bool,
    /// Say what would be done, and stop.
    pub dry_run: bool,
    /// Check the settings, and stop.
    pub check: bool,
    /// Where to compute.
    pub device: DeviceChoice,
    /// In what precision.
    pub precision: Precision,
    /// Where this process stands among others; `None` on its own.
    pub place: Option<Place>,
    /// Number of ranks that the run will have.
    pub ranks: usize,
    /// Share the optimizer's moments out over the ranks.
    pub zero: bool,
    /// How long ranks wait for each other.
    pub timeout: Duration,
    /// No progress; warnings are said all the same.
    pub quiet: bool,
}

impl Common {
    /// Says what a person has to know, whatever is shown of the progress.
    fn warn(&self, progress: &Progress, text: &str) {
        if self.quiet {
            tell(format_args!("warning: {text}"));
        } else {
            progress.note(&format!("warning: {text}"));
        }
    }

    /// How the command begins in the run folder.
    ///
    /// # Errors
    /// As [`earlier::start`]; when the folder cannot be made or written.
    fn start(&self) -> Result<Start> {
        let start = earlier::start(&self.out, self.resume)?;
        let there = self.out.ancestors().find(|path| path.exists()).unwrap_or(Path::new("."));
        tempfile::tempfile_in(there).map_err(|e| Error::io(there, e))?;
        Ok(start)
    }
}

/// `config.toml` of a run folder: all that a resume needs to be the same run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<T> {
    /// `model` or `tokenizer`.
    kind: String,
    /// Resolved precision, `f32`, `bf16` or `fp16`.
    precision: String,
    /// What it trains on.
    data: String,
    /// SHA-256 of the token file, or over the list of pictures: what it really trains on.
    data_sha256: String,
    /// SHA-256 of the tokenizer's file; empty when a tokenizer is trained.
    tokenizer_sha256: String,
    /// All settings.
    settings: T,
}

/// Defaults ← preset (with its `changes`) ← file ← `--set`; and what of it a person gave. `kind` is `model` or
/// `tokenizer`.
fn resolve<T: Serialize + DeserializeOwned + Default>(
    common: &Common,
    kind: &str,
    known: &[(&str, &str)],
    changes: &Table,
) -> Result<(T, Given)> {
    let mut given = Given::default();
    let mut table = to_table(&T::default())?;
    overlay(&mut table, &presets::find(known, &common.preset)?, &common.preset)?;
    overlay(&mut table, changes, &common.preset)?;
    if let Some(path) = &common.config {
        let mut changes = read_toml(path)?;
        if of_run(&changes) {
            changes = settings_of_run(path, changes, kind)?;
        } else {
            given.add(&changes);
        }
        overlay(&mut table, &changes, &path.display().to_string())?;
        from_table::<T>(&table).map_err(|e| Error::file(path, e.to_string()))?;
    }
    for assignment in &common.set {
        set(&mut table, assignment, &mut given)?;
    }
    Ok((from_table(&table)?, given))
}

/// The tables of a TOML file. An editor may have put a byte-order mark before them.
fn read_toml(path: &Path) -> Result<Table> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::file(path, "is not text in UTF-8; save it as UTF-8, without other encodings"))?;
    text.trim_start_matches('\u{feff}').parse().map_err(|e: toml::de::Error| {
        Error::file(path, e.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

/// Whether these tables are the `config.toml` of a run folder.
fn of_run(tables: &Table) -> bool {
    tables.contains_key("settings") && tables.contains_key("kind")
}

/// The settings in the `config.toml` of a run folder, for another run of the same kind.
fn settings_of_run(path: &Path, mut tables: Table, kind: &str) -> Result<Table> {
    let found = tables.get("kind").and_then(toml::Value::as_str).unwrap_or_default();
    if found != kind {
        return Err(Error::file(
            path,
            format!(
                "holds the settings of a run of `var-train {found}`; give it to that command, not to `{kind}`"
            ),
        ));
    }
    match tables.remove("settings") {
        Some(toml::Value::Table(settings)) => Ok(settings),
        _ => Err(Error::file(
            path,
            "is the config.toml of a run, but its settings are not a table; restore the file",
        )),
    }
}

/// Says what of the `config.toml` of another run counts, where `--config` names one.
fn tell_config(common: &Common, progress: &Progress) -> Result<()> {
    match &common.config {
        Some(path) if of_run(&read_toml(path)?) => {
            progress.note(&format!(
                "{}: the configuration of a run; its settings are taken, its data, tokenizer and precision are not",
                path.display()
            ));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// What is told where the file or folder behind `flag` is missing.
fn missing(e: var_tokenizer::Error, flag: &str, what: &str) -> Error {
    match e {
        var_tokenizer::Error::Io { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::file(path, format!("no such file; {flag} names {what}"))
        }
        e => e.into(),
    }
}

/// Adds what the process takes in memory when it holds so many bytes of tensors at most. On another device its
/// memory is not the processor's.
fn add_memory(plan: &mut Value, device: Device, tensors: f64) {
    if let (Device::Cpu, Some(plan)) = (device, plan.as_object_mut()) {
        plan.insert("process_bytes".into(), memory::of_process(tensors).into());
    }
}

/// Adds the time that `flops` take at half of the rate of a matrix product, measured now, to a plan.
fn add_estimate(plan: &mut Value, flops: f64, device: Device, compute: Kind) -> Result<()> {
    const SHARE: f64 = 0.5;
    let rate = SHARE * product_peak(device, compute)?;
    if let Some(plan) = plan.as_object_mut() {
        plan.insert("precision".into(), Precision::name_of(compute).into());
        plan.insert("assumed_flops_per_second".into(), rate.into());
        plan.insert("estimated_seconds".into(), (flops / rate).into());
    }
    Ok(())
}

/// On a resume from a checkpoint: the stored precision, after checking that nothing else was asked for. `None` where the
/// run begins.
fn stored<T: Serialize + DeserializeOwned + PartialEq>(
    common: &Common,
    kind: &str,
    asked: &T,
    data_sha256: &str,
    tokenizer_sha256: &str,
) -> Result<Option<Kind>> {
    if common.start()? != Start::Resume {
        return Ok(None);
    }
    let path = common.out.join("config.toml");
    let table = read_toml(&path)?;
    let found = table.get("kind").and_then(toml::Value::as_str).unwrap_or(kind);
    if found != kind {
        return Err(Error::file(
            &path,
            format!(
                "the run was started by `var-train {found}`, not by `{kind}`; give that command, or another --out"
            ),
        ));
    }
    let old: Stored<T> = from_table(&table).map_err(|e| Error::file(&path, e.to_string()))?;
    if old.settings != *asked {
        let (a, b) = (to_table(&old.settings)?, to_table(asked)?);
        let changed = difference(&a, &b, "").join(", ");
        return Err(Error::file(
            &path,
            format!(
                "the run was started with other settings ({changed}); give the same flags, or choose another --out"
            ),
        ));
    }
    if old.tokenizer_sha256 != tokenizer_sha256 {
        return Err(Error::file(&path, "the run was started with another tokenizer; give that one"));
    }
    if old.data_sha256 != data_sha256 {
        return Err(Error::file(
            &path,
            format!(
                "the run was started on other data ({}, SHA-256 {}…); give that, or choose another --out",
                old.data,
                old.data_sha256.get(..12).unwrap_or(&old.data_sha256)
            ),
        ));
    }
    let precision: Precision = old.precision.parse().map_err(|e| Error::file(&path, format!("{e}")))?;
    if common.precision != Precision::Auto && common.precision != precision {
        return Err(Error::file(
            &path,
            format!(
                "the run was started in {precision}, not in {}; leave --precision away",
                common.precision
            ),
        ));
    }
    Ok(precision.kind())
}

/// Keys whose values differ, with both values.
fn difference(a: &Table, b: &Table, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (key, old) in a {
        match (old, b.get(key)) {
            (toml::Value::Table(x), Some(toml::Value::Table(y))) => {
                found.extend(difference(x, y, &format!("{prefix}{key}.")));
            }
            (old, Some(new)) if old == new => {}
            (old, new) => {
                let new = new.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                found.push(format!("{prefix}{key}: {old} → {new}"));
            }
        }
    }
    found
}

fn write_config<T: Serialize>(run: &RunFolder, stored: &Stored<T>) -> Result<()> {
    let text = toml::to_string_pretty(stored).map_err(|e| Error::config(e.to_string()))?;
    run.write_config(&text)
}

/// `result.json` in the run folder, and the last event.
fn finish(out: &Path, progress: &Progress, result: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(result).map_err(|e| Error::config(e.to_string()))?;
    write_atomically(&out.join("result.json"), text.as_bytes())?;
    progress.event(result);
    Ok(())
}

/// Copies `file` of the last checkpoint to `name` in the run folder.
fn publish(checkpoint: &Path, file: &str, out: &Path, name: &str) -> Result<PathBuf> {
    let to = out.join(name);
    copy_atomically(&checkpoint.join(file), &to)?;
    Ok(to)
}

/// `var-train check-ranks`: joins, checks, and says what was found.
///
/// # Errors
/// When the ranks do not fit together or a check fails.
pub fn check_ranks(place: Option<&Place>, timeout: Duration, json: bool) -> Result<()> {
    let ranks = Ranks::join(place, "check-ranks", Device::Cpu, timeout)?;
    let outcome = guarded(|| {
        let found = check(ranks)?;
        if json {
            say(&found)?;
        } else if ranks.leads() {
            let seconds = found.get("all_reduce_seconds").and_then(Value::as_f64).unwrap_or(f64::NAN);
            say(format_args!(
                "{} ranks: collectives and averaged gradients are right; 16 MB summed in {:.1} ms",
                ranks.size(),
                seconds * 1e3
            ))?;
        }
        Ok(())
    });
    ranks.leave(&outcome);
    outcome
}
