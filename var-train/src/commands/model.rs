//! `var-train model`.

use std::path::Path;

use serde_json::{Value, json};
use tch::{Device, Kind};
use toml::Table;
use var_model::TransformerConfig;
use var_model::config::Standardisation;
use var_model::cost::{self, TrainingStep};
use var_tokenizer::builtin::{self, Opened};
use var_tokenizer::files::{sha256_of, write_atomically};
use var_tokenizer::images::Split;
use var_tokenizer::memory;
use var_tokenizer::progress::{Progress, Show, say};
use var_tokenizer::tokens::TokenFile;
use var_tokenizer::torch::{DeviceChoice, Precision, guarded};

use super::{
    Common, Stored, add_estimate, add_memory, finish, missing, publish, resolve, stored, tell_config,
    write_config,
};
use crate::average::{AVERAGE_FILE, PUBLISHED_FILE};
use crate::checkpoint::MODEL_FILE;
use crate::distributed::{Ranks, refuse, require_divisible};
use crate::effects;
use crate::engine;
use crate::error::{Error, Result};
use crate::layers::Given;
use crate::presets;
use crate::run::RunFolder;
use crate::schedule::Shape;
use crate::settings::ModelRun;
use crate::transformer::progressive::Stages;
use crate::transformer::{ModelTask, TokenRows};

/// Settings of `var-train model`, and which of them a person gave. The published recipe changes with the depth, which
/// may come last.
fn resolve_model(common: &Common) -> Result<(ModelRun, Given)> {
    let (mut settings, mut given): (ModelRun, _) = resolve(common, "model", &presets::MODEL, &Table::new())?;
    if common.preset == presets::PUBLISHED {
        let depth = settings.model.depth;
        (settings, given) = resolve(common, "model", &presets::MODEL, &presets::published_at(depth)?)?;
        if settings.training.learning_rate == 0.0 {
            settings.training.learning_rate = presets::published_rate(depth, settings.training.batch);
        }
    }
    settings.validate()?;
    if settings.model.progressive > 0.0 {
        settings.training.shape = Shape::Knee(settings.model.progressive);
    }
    require_divisible(settings.training.batch, settings.training.accumulation, common.ranks)?;
    Ok((settings, given))
}

/// What is known before the tokens are read and the ranks are together.
struct Ready {
    file: TokenFile,
    opened: Opened,
    config: TransformerConfig,
    steps: u64,
    data_sha256: String,
    /// The precision of the run that is resumed.
    found: Option<Kind>,
}

/// Refuses whatever can be refused before the expensive part: tokens, tokenizer, sizes, and on the rank that leads the
/// run folder. `device` is where the tokenizer goes.
fn prepare(
    common: &Common,
    tokens: &Path,
    tokenizer: &str,
    settings: &ModelRun,
    device: Device,
    leads: bool,
) -> Result<Ready> {
    // The place first: nothing else has to be read for it.
    if leads {
        common.start()?;
    }
    let file = TokenFile::open(tokens)
        .map_err(|e| missing(e, "--tokens", "the token file of `var-tokenizer encode`"))?;
    let opened = builtin::open(tokenizer, Some(&file.info().schedule), device)
        .map_err(|e| missing(e, "--tokenizer", "the tokenizer that made the tokens"))?;
    file.require_tokenizer(&opened.sha256)?;
    let (train, held_out) = (file.rows(Split::Train), file.rows(Split::Val));
    if train == 0 || held_out == 0 {
        return Err(Error::file(
            tokens,
            format!("has {train} training and {held_out} held-out rows; at least one of each is needed"),
        ));
    }
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
    let steps = settings.training.total_steps(train);
    Stages::of(settings, steps, config.schedule.scales())?;
    let data_sha256 = sha256_of(tokens)?;
    let found = if leads { stored(common, "model", settings, &data_sha256, &opened.sha256)? } else { None };
    Ok(Ready { file, opened, config, steps, data_sha256, found })
}

/// Checks all that can be checked before ranks are started.
///
/// # Errors
/// As [`model`], but for what only training shows.
pub fn check_model(common: &Common, tokens: &Path, tokenizer: &str) -> Result<()> {
    let (settings, _) = resolve_model(common)?;
    check_device(common)?;
    prepare(common, tokens, tokenizer, &settings, Device::Cpu, true).map(|_| ())
}

/// `var-train model`.
///
/// # Errors
/// Bad input, a failing machine, divergence, or an interruption after saving.
pub fn model(common: &Common, tokens: &Path, tokenizer: &str, progress: &mut Progress) -> Result<()> {
    let (settings, given) = resolve_model(common)?;
    let device = check_device(common)?;
    if common.check {
        return Ok(());
    }
    // A dry run trains nothing, hence needs nobody.
    let place = common.place.as_ref().filter(|_| !common.dry_run);
    let leads = place.is_none_or(|place| place.rank == 0);
    let ready = prepare(common, tokens, tokenizer, &settings, device, leads)
        .inspect_err(|e| place.into_iter().for_each(|place| refuse(place, e)))?;
    if leads {
        if common.zero && common.ranks == 1 {
            common.warn(
                progress,
                "--zero is ignored: one rank has nothing to share the optimizer's state with",
            );
        }
        tell_config(common, progress)?;
        for note in &ready.opened.notes {
            common.warn(progress, &format!("{tokenizer}: {note}"));
        }
        for note in effects::of_model(&settings, &given, ready.steps, ready.file.rows(Split::Val)) {
            common.warn(progress, &note);
        }
    }
    let same = serde_json::to_string(&(&settings, common.zero)).map_err(|e| Error::config(e.to_string()))?;
    let ranks = Ranks::join(place, &same, device, common.timeout)?;
    let mut silent = Progress::new(Show::Quiet);
    let progress = if ranks.leads() { progress } else { &mut silent };
    let outcome = guarded(|| train_model(common, tokens, tokenizer, &settings, ready, ranks, progress));
    ranks.leave(&outcome);
    outcome
}

/// The device of this process, where it has the precision that is asked for. Ranks of one machine take GPUs one after
/// another, from the one that is asked for on.
fn check_device(common: &Common) -> Result<Device> {
    let local = common.place.as_ref().map_or(0, |place| place.local_rank);
    let chosen = match common.device {
        DeviceChoice::Auto if local > 0 && tch::Cuda::is_available() => DeviceChoice::Cuda(local),
        DeviceChoice::Cuda(first) => DeviceChoice::Cuda(first + local),
        other => other,
    };
    let device = chosen.resolve()?;
    if common.precision == Precision::Fp16 {
        common.precision.resolve(device, [1, 1, 1])?;
    }
    Ok(device)
}

/// What a rank of `var-train model` does among the others.
fn train_model(
    common: &Common,
    tokens: &Path,
    tokenizer: &str,
    settings: &ModelRun,
    ready: Ready,
    ranks: Ranks,
    progress: &mut Progress,
) -> Result<()> {
    let Ready { file, opened, config, steps, data_sha256, found } = ready;
    let (network, device) = (&settings.model, opened.tokenizer.device());
    let latent_bytes = 4.0 * var_tokenizer::cost::parameters(opened.tokenizer.config()) as f64;
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
            "memory_bytes_with_recompute": memory(true), "train_rows": file.rows(Split::Train), "val_rows": file.rows(Split::Val),
        });
        // While the tokenizer is read, its tensors are there beside the file's; while a checkpoint is saved, rank 0
        // has the moments of all beside its own share.
        let loading = 2.0 * latent_bytes;
        let moments = if several && common.zero { 8.0 + 8.0 / common.ranks as f64 } else { 8.0 };
        let saving = (4.0 + moments + if network.ema > 0.0 { 4.0 } else { 0.0 }) * parameters as f64;
        add_memory(&mut plan, device, memory(network.recompute).max(loading).max(saving));
        add_estimate(&mut plan, flops, device, compute)?;
        say(plan)?;
        return Ok(());
    }
    let mut run = match ranks.leads() {
        true => RunFolder::open(&common.out, common.resume)?,
        false => RunFolder::elsewhere(&common.out),
    };
    let (train, validation) =
        (TokenRows::new(file.read_split(Split::Train)?), TokenRows::new(file.read_split(Split::Val)?));
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
    if ranks.leads() {
        let classes = serde_json::to_string(&file.info().class_names).unwrap_or_default();
        for (name, bytes) in
            [("tokenizer.safetensors", builtin::bytes(tokenizer)?), ("classes.json", classes.into_bytes())]
        {
            let path = common.out.join(name);
            if found.is_some() && path.exists() {
                continue;
            }
            if found.is_some() {
                common.warn(progress, &format!("{} was missing; it is written again", path.display()));
            }
            write_atomically(&path, &bytes)?;
        }
    }
    if ranks.leads() && found.is_none() {
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
            "peak_memory_bytes": memory::peak(),
        }),
    )
}
