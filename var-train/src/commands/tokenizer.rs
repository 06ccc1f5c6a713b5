//! `var-train tokenizer`.

use serde_json::{Value, json};
use toml::Table;
use var_tokenizer::cost;
use var_tokenizer::images::Source;
use var_tokenizer::memory;
use var_tokenizer::progress::{Progress, say};
use var_tokenizer::torch::Precision;

use super::{
    Common, Stored, add_estimate, add_memory, finish, missing, publish, resolve, stored, tell_config,
    write_config,
};
use crate::checkpoint::MODEL_FILE;
use crate::distributed::Ranks;
use crate::effects;
use crate::engine::{self, Task};
use crate::error::{Error, Result};
use crate::presets;
use crate::run::RunFolder;
use crate::settings::TokenizerRun;
use crate::tokenizer::{Pictures, TokenizerTask};

/// `var-train tokenizer`.
///
/// # Errors
/// Bad input, a failing machine, divergence, or an interruption after saving.
pub fn tokenizer(common: &Common, data: &str, progress: &mut Progress) -> Result<()> {
    let (settings, given): (TokenizerRun, _) =
        resolve(common, "tokenizer", &presets::TOKENIZER, &Table::new())?;
    settings.validate()?;
    if common.ranks > 1 {
        return Err(Error::config(format!(
            "a tokenizer is trained by one process, not by {} ranks; give --nproc 1",
            common.ranks
        )));
    }
    if common.precision == Precision::Fp16 {
        return Err(Error::config("--precision fp16 is for `model`; tokenizers train in f32 or bf16"));
    }
    let device = common.device.resolve()?;
    if common.check {
        return Ok(());
    }
    // The place first: nothing else has to be read for it.
    common.start()?;
    let source = Source::open(data).map_err(|e| missing(e, "--data", "the pictures"))?;
    for note in source.notes() {
        common.warn(progress, &format!("{}: {note}", source.label()));
    }
    let data_sha256 = source.fingerprint();
    let found = stored(common, "tokenizer", &settings, &data_sha256, "")?;
    if common.zero {
        common.warn(progress, "--zero is ignored: a tokenizer is trained by one process");
    }
    tell_config(common, progress)?;
    let (train, validation) = Pictures::split(source, &settings)?;
    if train.is_empty() || validation.is_empty() {
        return Err(Error::file(
            data,
            format!(
                "has {} training and {} held-out pictures that can be read; at least one of each is needed. {}",
                train.len(),
                validation.len(),
                train.report().bad.first().or(validation.report().bad.first()).map_or("", |bad| &bad.reason)
            ),
        ));
    }
    let steps = settings.training.total_steps(train.len());
    let counts = [train.len(), validation.len()];
    for note in effects::of_tokenizer(&settings, &given, steps, counts, train.is_exact()) {
        common.warn(progress, &note);
    }
    let network = &settings.tokenizer;
    let (side, width) = (network.image_side() as i64, network.channels as i64);
    let product = [settings.training.batch as i64 * side * side, 9 * width, width];
    if common.dry_run {
        let compute = common.precision.resolve(device, product)?;
        let micro = settings.training.batch / settings.training.accumulation;
        let pictures = steps.saturating_mul(settings.training.batch as u64);
        let flops = cost::training_flops(network) * pictures as f64;
        let tensors = cost::training_memory(network, micro, compute.elt_size_in_bytes());
        let mut plan = json!({
            "parameters": cost::parameters(network), "steps": steps, "images": pictures, "flops": flops,
            "memory_bytes": tensors,
            "train_pictures": train.len(), "val_pictures": validation.len(),
        });
        add_memory(&mut plan, device, tensors);
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
    );
    // Also where training was interrupted or failed.
    for report in task.reports().iter().filter(|report| !report.bad.is_empty()) {
        common.warn(progress, &report.to_string());
    }
    let outcome = outcome?;
    if let Some(alarm) = outcome.validation.get("alarm").and_then(Value::as_str) {
        progress.note(&format!("warning: {alarm}"));
    }
    let bad: usize = task.reports().iter().map(|report| report.bad.len()).sum();
    let file = publish(&outcome.checkpoint, MODEL_FILE, &common.out, "tokenizer.safetensors")?;
    let score = |key: &str| outcome.validation.get(key).cloned().unwrap_or(Value::Null);
    finish(
        &common.out,
        progress,
        &json!({
            "event": "done", "parameters": parameters, "psnr": score("psnr"), "codes_used": score("codes_used"),
            "perplexity": score("perplexity"), "codes_per_scale": score("codes_per_scale"), "bad": bad,
            "seconds": outcome.seconds, "precision": Precision::name_of(compute), "tokenizer": file.display().to_string(),
            "peak_memory_bytes": memory::peak(),
        }),
    )?;
    progress.note(&format!("wrote {}", file.display()));
    Ok(())
}
