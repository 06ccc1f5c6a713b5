//! What the subcommands do, apart from reading flags.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tch::{Device, Kind};
use toml::Table;
use var_model::TransformerConfig;
use var_model::config::Standardisation;
use var_model::cost::{self, TrainingStep};
use var_tokenizer::builtin;
use var_tokenizer::cost as tokenizer_cost;
use var_tokenizer::files::{sha256_of, write_atomically};
use var_tokenizer::images::{Source, Split};
use var_tokenizer::progress::{Progress, Show, say};
use var_tokenizer::tokens::TokenFile;
use var_tokenizer::torch::{DeviceChoice, Precision, guarded, product_peak};

use crate::average::{AVERAGE_FILE, PUBLISHED_FILE};
use crate::distributed::check::check;
use crate::distributed::{Place, Ranks, require_divisible};
use crate::engine::{self, MODEL_FILE, Task};
use crate::error::{Error, Result};
use crate::layers::{from_table, overlay, set, to_table};
use crate::presets;
use crate::run::RunFolder;
use crate::schedule::Shape;
use crate::settings::{ModelRun, TokenizerRun};
use crate::tokenizer::{Pictures, TokenizerTask};
use crate::transformer::progressive::Stages;
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

/// Settings of `var-train model`. The published recipe changes with the depth, which may come last.
fn resolve_model(common: &Common) -> Result<ModelRun> {
    let mut settings: ModelRun = resolve(common, &presets::MODEL, &Table::new())?;
    if common.preset == presets::PUBLISHED {
        let depth = settings.model.depth;
        settings = resolve(common, &presets::MODEL, &presets::published_at(depth)?)?;
        if settings.training.learning_rate == 0.0 {
            settings.training.learning_rate = presets::published_rate(depth, settings.training.batch);
        }
    }
    settings.validate()?;
    if settings.model.progressive > 0.0 {
        settings.training.shape = Shape::Knee(settings.model.progressive);
    }
    Ok(settings)
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
    let from = checkpoint.join(file);
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
    let settings = resolve_model(common)?;
    let training = &settings.training;
    require_divisible(training.batch, training.accumulation, common.ranks)?;
    let device = device(common)?;
    if common.precision == Precision::Fp16 {
        // Refused before anything is read, where there is no device for it.
        common.precision.resolve(device, [1, 1, 1])?;
    }
    if common.zero && common.ranks == 1 {
        progress.note("--zero is ignored: one rank has nothing to share the optimizer's state with");
    }
    if common.check {
        return Ok(());
    }
    // A dry run trains nothing, hence needs nobody.
    let place = common.place.as_ref().filter(|_| !common.dry_run);
    let same = serde_json::to_string(&(&settings, common.zero)).map_err(|e| Error::Config(e.to_string()))?;
    let ranks = Ranks::join(place, &same, device, common.timeout)?;
    let mut silent = Progress::new(Show::Quiet);
    let progress = if ranks.leads() { progress } else { &mut silent };
    let outcome = guarded(|| train_model(common, tokens, tokenizer, &settings, device, ranks, progress));
    ranks.leave(&outcome);
    outcome
}

/// The device of this process. Ranks of one machine take GPUs one after another, from the one that is asked for on.
fn device(common: &Common) -> Result<Device> {
    let local = common.place.as_ref().map_or(0, |place| place.local_rank);
    let chosen = match common.device {
        DeviceChoice::Auto if local > 0 && tch::Cuda::is_available() => DeviceChoice::Cuda(local),
        DeviceChoice::Cuda(first) => DeviceChoice::Cuda(first + local),
        other => other,
    };
    Ok(chosen.resolve()?)
}

/// What a rank of `var-train model` does among the others.
fn train_model(
    common: &Common,
    tokens: &Path,
    tokenizer: &str,
    settings: &ModelRun,
    device: Device,
    ranks: Ranks,
    progress: &mut Progress,
) -> Result<()> {
    let file = TokenFile::open(tokens)?;
    let opened = builtin::open(tokenizer, Some(&file.info().schedule), device)?;
    file.require_tokenizer(&opened.sha256)?;
    let (train, validation) =
        (TokenRows::new(file.read_split(Split::Train)?), TokenRows::new(file.read_split(Split::Val)?));
    let network = &settings.model;
    if network.standardise_inputs && file.info().input_statistics.is_none() {
        return Err(Error::file(
            tokens,
            "has no statistics of the input vectors, which standardise_inputs needs; encode again, or --set standardise_inputs=false",
        ));
    }
    let latent = opened.tokenizer.config();
    let config = TransformerConfig {
        depth: network.depth,
        width: if network.width > 0 { network.width } else { network.depth.saturating_mul(64) },
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
    // What does not fit is said before the run folder is made.
    Stages::of(settings, steps, config.schedule.scales())?;
    let (parameters, batch) = (cost::parameters(&config), settings.training.batch);
    let pictures = steps * batch as u64;
    let flops = cost::training_flops(&config) * pictures as f64;
    let micro = batch / settings.training.accumulation / common.ranks;
    let tokens_seen = pictures.saturating_mul(config.schedule.tokens() as u64);
    let product = [(micro * config.schedule.tokens()) as i64, config.width as i64, 4 * config.width as i64];
    if common.dry_run {
        let compute = common.precision.resolve(device, product)?;
        let several = common.ranks > 1;
        let memory = |recompute| {
            let step = TrainingStep {
                accumulate: settings.training.accumulation > 1,
                recompute,
                average: network.ema > 0.0,
                ranks: if common.zero { common.ranks } else { 1 },
                ..TrainingStep::plain(micro, compute.elt_size_in_bytes())
            };
            // Where the backward pass averages gradients it has a copy of them in buckets.
            let buckets = if several && !common.zero { 4.0 * parameters as f64 } else { 0.0 };
            cost::training_memory(&config, &step).total() + buckets
        };
        let mut plan = json!({
            "parameters": parameters, "steps": steps, "tokens": tokens_seen, "flops": flops,
            "memory_bytes": memory(network.recompute), "memory_bytes_without_recompute": memory(false),
            "memory_bytes_with_recompute": memory(true), "train_rows": train.len(), "val_rows": validation.len(),
        });
        add_estimate(&mut plan, flops, device, compute)?;
        say(plan)?;
        return Ok(());
    }
    let data_sha256 = sha256_of(tokens)?;
    let (mut found, mut run) = (None, RunFolder::elsewhere(&common.out));
    if ranks.leads() {
        found = stored(common, settings, &data_sha256, &opened.sha256)?;
        run = RunFolder::open(&common.out, common.resume)?;
    }
    // Rank 0 measures; a different choice on another rank would give different sums.
    let word = ranks.from_leader(|| {
        let kind = match found {
            Some(kind) => kind,
            None => common.precision.resolve(device, product)?,
        };
        Ok(format!("{} {data_sha256} {}", Precision::name_of(kind), opened.sha256))
    })?;
    let chosen = word.split(' ').next().and_then(|name| name.parse::<Precision>().ok()?.kind());
    let Some(compute) = chosen else {
        return Err(Error::Distributed(format!(
            "rank 0 chose '{word}', which this rank does not know; use one version"
        )));
    };
    if !word.ends_with(&format!(" {data_sha256} {}", opened.sha256)) {
        return Err(Error::file(
            tokens,
            "is not the file that rank 0 has, or the tokenizer is not; give all ranks the same files",
        ));
    }
    if ranks.leads() && found.is_none() {
        write_atomically(&common.out.join("tokenizer.safetensors"), &builtin::bytes(tokenizer)?)?;
        let classes = serde_json::to_string(&file.info().class_names).unwrap_or_default();
        write_atomically(&common.out.join("classes.json"), classes.as_bytes())?;
        // Last: a folder with a configuration is one that a resume may trust.
        write_config(
            &run,
            &Stored {
                kind: "model".into(),
                precision: Precision::name_of(compute).into(),
                data: tokens.display().to_string(),
                data_sha256,
                tokenizer_sha256: opened.sha256.clone(),
                settings: settings.clone(),
            },
        )?;
    }
    progress.note(&format!(
        "{} parameters, {steps} steps of {batch} pictures, {} training and {} held-out rows, {}{}",
        parameters,
        train.len(),
        validation.len(),
        Precision::name_of(compute),
        if ranks.size() > 1 { format!(", {} ranks", ranks.size()) } else { String::new() }
    ));
    let task = ModelTask::new(&config, opened.tokenizer, train, validation, settings, compute)?;
    let mut task = task.among(ranks);
    let outcome = engine::train(
        &mut task,
        &mut run,
        &settings.training,
        steps,
        common.resume,
        progress,
        ranks,
        common.zero,
    )?;
    if !ranks.leads() {
        return Ok(());
    }
    publish(&outcome.checkpoint, MODEL_FILE, &common.out, MODEL_FILE)?;
    if settings.model.ema > 0.0 {
        publish(&outcome.checkpoint, AVERAGE_FILE, &common.out, PUBLISHED_FILE)?;
    }
    let score = |key: &str| outcome.validation.get(key).cloned().unwrap_or(Value::Null);
    finish(
        &common.out,
        progress,
        &json!({
            "event": "done", "parameters": parameters, "tokens": tokens_seen,
            "flops": flops, "six_n_d": cost::six_n_d(&config) * pictures as f64,
            "val_loss_all": score("loss_all"), "val_loss_last": score("loss_last"),
            "val_err_all": score("err_all"), "val_err_last": score("err_last"),
            "val_loss_per_scale": score("loss_per_scale"), "seconds": outcome.seconds,
            "precision": Precision::name_of(compute), "depth": config.depth, "width": config.width, "heads": config.heads,
        }),
    )
}

/// `var-train tokenizer`.
///
/// # Errors
/// Bad input, a failing machine, divergence, or an interruption after saving.
pub fn tokenizer(common: &Common, data: &str, progress: &mut Progress) -> Result<()> {
    let settings: TokenizerRun = resolve(common, &presets::TOKENIZER, &Table::new())?;
    settings.validate()?;
    if common.ranks > 1 {
        return Err(Error::Config(format!(
            "a tokenizer is trained by one process, not by {} ranks; give --nproc 1",
            common.ranks
        )));
    }
    if common.precision == Precision::Fp16 {
        return Err(Error::Config("--precision fp16 is for `model`; tokenizers train in f32 or bf16".into()));
    }
    let device = common.device.resolve()?;
    if common.check {
        return Ok(());
    }
    let source = Source::open(data)?;
    let data_sha256 = source.fingerprint();
    let found = stored(common, &settings, &data_sha256, "")?;
    let (train, validation) = Pictures::split(source, &settings)?;
    let steps = settings.training.total_steps(train.len());
    let network = &settings.tokenizer;
    let (side, width) = (network.image_side() as i64, network.channels as i64);
    let product = [settings.training.batch as i64 * side * side, 9 * width, width];
    if common.dry_run {
        let compute = common.precision.resolve(device, product)?;
        let micro = settings.training.batch / settings.training.accumulation;
        let pictures = steps.saturating_mul(settings.training.batch as u64);
        let flops = tokenizer_cost::training_flops(network) * pictures as f64;
        let mut plan = json!({
            "parameters": tokenizer_cost::parameters(network), "steps": steps, "images": pictures, "flops": flops,
            "memory_bytes": tokenizer_cost::training_memory(network, micro, compute.elt_size_in_bytes()),
            "train_pictures": train.len(), "val_pictures": validation.len(),
        });
        add_estimate(&mut plan, flops, device, compute)?;
        say(plan)?;
        return Ok(());
    }
    let mut run = RunFolder::open(&common.out, common.resume)?;
    let compute = match found {
        Some(kind) => kind,
        None => common.precision.resolve(device, product)?,
    };
    if found.is_none() {
        write_config(
            &run,
            &Stored {
                kind: "tokenizer".into(),
                precision: Precision::name_of(compute).into(),
                data: data.to_owned(),
                data_sha256,
                tokenizer_sha256: String::new(),
                settings: settings.clone(),
            },
        )?;
    }
    let (pictures, held_out) = (train.len(), validation.len());
    let mut task = TokenizerTask::new(&settings, train, validation, steps, device, compute)?;
    let parameters = task.parameters().count();
    progress.note(&format!(
        "{parameters} parameters, {steps} steps of {} pictures, {pictures} training and {held_out} held-out pictures, {}",
        settings.training.batch, Precision::name_of(compute)
    ));
    let outcome = engine::train(
        &mut task,
        &mut run,
        &settings.training,
        steps,
        common.resume,
        progress,
        Ranks::ALONE,
        false,
    )?;
    if let Some(alarm) = outcome.validation.get("alarm").and_then(Value::as_str) {
        progress.note(&format!("warning: {alarm}"));
    }
    let bad: usize = task.reports().iter().map(|report| report.bad.len()).sum();
    for report in task.reports().iter().filter(|report| !report.bad.is_empty()) {
        progress.note(&report.to_string());
    }
    let file = publish(&outcome.checkpoint, MODEL_FILE, &common.out, "tokenizer.safetensors")?;
    let score = |key: &str| outcome.validation.get(key).cloned().unwrap_or(Value::Null);
    finish(
        &common.out,
        progress,
        &json!({
            "event": "done", "parameters": parameters, "psnr": score("psnr"), "codes_used": score("codes_used"),
            "perplexity": score("perplexity"), "codes_per_scale": score("codes_per_scale"), "bad": bad,
            "seconds": outcome.seconds, "precision": Precision::name_of(compute), "tokenizer": file.display().to_string(),
        }),
    )?;
    progress.note(&format!("wrote {}", file.display()));
    Ok(())
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
