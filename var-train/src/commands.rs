//! What the subcommands do, apart from reading flags.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Device, Kind};
use toml::Table;
use var_model::config::Standardisation;
use var_model::{TransformerConfig, cost};
use var_tokenizer::builtin;
use var_tokenizer::images::{Source, Split};
use var_tokenizer::progress::Progress;
use var_tokenizer::tokens::TokenFile;
use var_tokenizer::torch::{DeviceChoice, Precision};
use var_tokenizer::weights::safetensors::write_atomically;

use crate::engine::{self, MODEL_FILE, Task};
use crate::error::{Error, Result};
use crate::presets;
use crate::run::RunFolder;
use crate::settings::{ModelRun, TokenizerRun, from_table, overlay, set, to_table};
use crate::tokenizer::{Pictures, TokenizerTask};
use crate::transformer::{ModelTask, TokenRows};

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
    /// Where to compute.
    pub device: DeviceChoice,
    /// In what precision.
    pub precision: Precision,
}

/// `config.toml` of a run folder: all that a resume needs to be the same run.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored<T> {
    /// `model` or `tokenizer`.
    kind: String,
    /// Resolved precision, `f32` or `bf16`.
    precision: String,
    /// What it trains on.
    data: String,
    /// SHA-256 of the tokenizer's file; empty when a tokenizer is trained.
    tokenizer_sha256: String,
    /// All settings.
    settings: T,
}

/// Defaults ← preset ← file ← `--set`.
fn resolve<T: Serialize + DeserializeOwned + Default>(common: &Common, known: &[(&str, &str)]) -> Result<T> {
    let mut table = to_table(&T::default())?;
    overlay(&mut table, &presets::find(known, &common.preset)?, &common.preset)?;
    if let Some(path) = &common.config {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let changes: Table = text.parse().map_err(|e: toml::de::Error| {
            Error::file(path, e.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
        })?;
        overlay(&mut table, &changes, &path.display().to_string())?;
    }
    for assignment in &common.set {
        set(&mut table, assignment)?;
    }
    from_table(&table)
}

fn kind_name(kind: Kind) -> &'static str {
    if kind == Kind::BFloat16 { "bf16" } else { "f32" }
}

/// On a resume: the stored configuration, after checking that nothing else was asked for.
fn stored<T: Serialize + DeserializeOwned + PartialEq>(
    common: &Common,
    asked: &T,
    data: &str,
    sha256: &str,
) -> Result<Option<(Kind, T)>> {
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
    if old.tokenizer_sha256 != sha256 {
        return Err(Error::file(&path, "the run was started with another tokenizer; give that one"));
    }
    if old.data != data {
        return Err(Error::file(&path, format!("the run was started on {}, not on {data}", old.data)));
    }
    let kind = if old.precision == "bf16" { Kind::BFloat16 } else { Kind::Float };
    Ok(Some((kind, old.settings)))
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

/// Copies the last checkpoint's model to `name` in the run folder.
fn publish(checkpoint: &Path, out: &Path, name: &str) -> Result<PathBuf> {
    let from = checkpoint.join(MODEL_FILE);
    let bytes = std::fs::read(&from).map_err(|e| Error::io(&from, e))?;
    let to = out.join(name);
    write_atomically(&to, &bytes)?;
    Ok(to)
}

/// `var-train model`.
///
/// # Errors
/// Bad input, a failing machine, divergence, or an interruption after saving.
pub fn model(common: &Common, tokens: &Path, tokenizer: &str, progress: &mut Progress) -> Result<()> {
    let settings: ModelRun = resolve(common, &presets::MODEL)?;
    settings.training.validate()?;
    let device = common.device.resolve()?;
    let opened = builtin::open(tokenizer, device)?;
    let file = TokenFile::open(tokens)?;
    file.require_tokenizer(&opened.sha256)?;
    let (train, validation) =
        (TokenRows::new(file.read_split(Split::Train)?), TokenRows::new(file.read_split(Split::Val)?));
    let network = &settings.model;
    let latent = opened.tokenizer.config();
    let config = TransformerConfig {
        depth: network.depth,
        width: if network.width > 0 { network.width } else { 64 * network.depth },
        heads: if network.heads > 0 { network.heads } else { network.depth },
        classes: file.info().classes(),
        vocabulary: latent.vocabulary,
        latent_channels: latent.latent_channels,
        schedule: latent.schedule.clone(),
        shared_adaln: network.shared_adaln,
        qk_norm: network.qk_norm,
        input: network
            .standardise_inputs
            .then(|| file.info().input_statistics.clone())
            .flatten()
            .map(|s| Standardisation { mean: s.mean, deviation: s.deviation }),
    };
    config.validate()?;
    let steps = settings.training.total_steps(train.len());
    let (parameters, batch) = (cost::parameters(&config), settings.training.batch);
    let pictures = steps * batch as u64;
    let flops = cost::training_flops(&config) * pictures as f64;
    let micro = batch / settings.training.accumulation;
    if common.dry_run {
        let memory = cost::training_memory(&config, micro, 2);
        println!(
            "{}",
            json!({
                "parameters": parameters, "steps": steps, "tokens": pictures * config.schedule.tokens() as u64,
                "flops": flops, "memory_bytes_bf16": memory.total(), "train_rows": train.len(), "val_rows": validation.len(),
            })
        );
        return Ok(());
    }
    let data = tokens.display().to_string();
    let found = stored(common, &settings, &data, &opened.sha256)?;
    let mut run = RunFolder::open(&common.out, common.resume)?;
    let compute = match &found {
        Some((kind, _)) => *kind,
        None => {
            let product =
                [(micro * config.schedule.tokens()) as i64, config.width as i64, 4 * config.width as i64];
            common.precision.resolve(device, product)?
        }
    };
    if found.is_none() {
        write_atomically(&common.out.join("tokenizer.safetensors"), &builtin::bytes(tokenizer)?)?;
        let classes = serde_json::to_string(&file.info().class_names).unwrap_or_default();
        write_atomically(&common.out.join("classes.json"), classes.as_bytes())?;
        // Last: a folder with a configuration is one that a resume may trust.
        write_config(
            &run,
            &Stored {
                kind: "model".into(),
                precision: kind_name(compute).into(),
                data,
                tokenizer_sha256: opened.sha256.clone(),
                settings: settings.clone(),
            },
        )?;
    }
    progress.note(&format!(
        "{} parameters, {steps} steps of {batch} pictures, {} training and {} held-out rows, {}",
        parameters,
        train.len(),
        validation.len(),
        kind_name(compute)
    ));
    let mut task = ModelTask::new(&config, opened.tokenizer, train, validation, &settings, compute)?;
    let outcome = engine::train(&mut task, &mut run, &settings.training, steps, common.resume, progress)?;
    publish(&outcome.checkpoint, &common.out, MODEL_FILE)?;
    let score = |key: &str| outcome.validation.get(key).cloned().unwrap_or(Value::Null);
    finish(
        &common.out,
        progress,
        &json!({
            "event": "done", "parameters": parameters, "tokens": pictures * config.schedule.tokens() as u64,
            "flops": flops, "six_n_d": cost::six_n_d(&config) * pictures as f64,
            "val_loss_all": score("loss_all"), "val_loss_last": score("loss_last"),
            "val_err_all": score("err_all"), "val_err_last": score("err_last"),
            "val_loss_per_scale": score("loss_per_scale"), "seconds": outcome.seconds,
            "precision": kind_name(compute), "depth": config.depth, "width": config.width, "heads": config.heads,
        }),
    )
}

/// `var-train tokenizer`.
///
/// # Errors
/// Bad input, a failing machine, divergence, or an interruption after saving.
pub fn tokenizer(common: &Common, data: &str, progress: &mut Progress) -> Result<()> {
    let settings: TokenizerRun = resolve(common, &presets::TOKENIZER)?;
    settings.training.validate()?;
    settings.tokenizer.validate()?;
    let device = common.device.resolve()?;
    let source = Source::open(data)?;
    let found = stored(common, &settings, data, "")?;
    let (train, validation) = Pictures::split(source, &settings)?;
    let steps = settings.training.total_steps(train.len());
    if common.dry_run {
        println!(
            "{}",
            json!({"steps": steps, "train_pictures": train.len(), "val_pictures": validation.len()})
        );
        return Ok(());
    }
    let mut run = RunFolder::open(&common.out, common.resume)?;
    let compute = match &found {
        Some((kind, _)) => *kind,
        None => {
            let side = settings.tokenizer.image_side() as i64;
            let width = settings.tokenizer.channels as i64;
            common
                .precision
                .resolve(device, [settings.training.batch as i64 * side * side, 9 * width, width])?
        }
    };
    if found.is_none() {
        write_config(
            &run,
            &Stored {
                kind: "tokenizer".into(),
                precision: kind_name(compute).into(),
                data: data.to_owned(),
                tokenizer_sha256: String::new(),
                settings: settings.clone(),
            },
        )?;
    }
    for part in [&train, &validation] {
        if !part.report().bad.is_empty() {
            progress.note(&part.report().to_string());
        }
    }
    let (pictures, held_out) = (train.len(), validation.len());
    let mut task = TokenizerTask::new(&settings, train, validation, steps, device, compute)?;
    let parameters = task.parameters().count();
    progress.note(&format!(
        "{parameters} parameters, {steps} steps of {} pictures, {pictures} training and {held_out} held-out pictures, {}",
        settings.training.batch, kind_name(compute)
    ));
    let outcome = engine::train(&mut task, &mut run, &settings.training, steps, common.resume, progress)?;
    if let Some(alarm) = outcome.validation.get("alarm").and_then(Value::as_str) {
        progress.note(&format!("warning: {alarm}"));
    }
    let file = publish(&outcome.checkpoint, &common.out, "tokenizer.safetensors")?;
    let score = |key: &str| outcome.validation.get(key).cloned().unwrap_or(Value::Null);
    finish(
        &common.out,
        progress,
        &json!({
            "event": "done", "parameters": parameters, "psnr": score("psnr"), "codes_used": score("codes_used"),
            "perplexity": score("perplexity"), "codes_per_scale": score("codes_per_scale"),
            "seconds": outcome.seconds, "precision": kind_name(compute), "tokenizer": file.display().to_string(),
        }),
    )?;
    progress.note(&format!("wrote {}", file.display()));
    Ok(())
}

/// `cpu` or `cuda:N`: a resolved device in messages.
pub fn device_name(device: Device) -> String {
    match device {
        Device::Cuda(n) => format!("cuda:{n}"),
        _ => "cpu".to_owned(),
    }
}
