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
use var_tokenizer::progress::{Progress, say};
use var_tokenizer::torch::{DeviceChoice, Precision, guarded, product_peak};

use crate::distributed::check::check;
use crate::distributed::{Place, Ranks};
use crate::error::{Error, Result};
use crate::layers::{from_table, overlay, set, to_table};
use crate::presets;
use crate::run::RunFolder;

pub use model::model;
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

/// Defaults ← preset (with its `changes`) ← file ← `--set`.
fn resolve<T: Serialize + DeserializeOwned + Default>(
    common: &Common,
    known: &[(&str, &str)],
    changes: &Table,
) -> Result<T> {
    let mut table = to_table(&T::default())?;
    overlay(&mut table, &presets::find(known, &common.preset)?, &common.preset)?;
    overlay(&mut table, changes, &common.preset)?;
    if let Some(path) = &common.config {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let changes: Table = text.parse().map_err(|e: toml::de::Error| {
            Error::file(path, e.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
        })?;
        overlay(&mut table, &changes, &path.display().to_string())?;
        from_table::<T>(&table).map_err(|e| Error::file(path, e.to_string()))?;
    }
    for assignment in &common.set {
        set(&mut table, assignment)?;
    }
    from_table(&table)
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

/// On a resume: the stored precision, after checking that nothing else was asked for.
fn stored<T: Serialize + DeserializeOwned + PartialEq>(
    common: &Common,
    asked: &T,
    data_sha256: &str,
    tokenizer_sha256: &str,
) -> Result<Option<Kind>> {
    let path = common.out.join("config.toml");
    if !common.resume || !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    let old: Stored<T> = toml::from_str(&text)
        .map_err(|e| Error::file(&path, e.to_string().split_whitespace().collect::<Vec<_>>().join(" ")))?;
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
    let text = toml::to_string_pretty(stored).map_err(|e| Error::Config(e.to_string()))?;
    run.write_config(&text)
}

/// `result.json` in the run folder, and the last event.
fn finish(out: &Path, progress: &Progress, result: &Value) -> Result<()> {
    let text = serde_json::to_string_pretty(result).map_err(|e| Error::Config(e.to_string()))?;
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
