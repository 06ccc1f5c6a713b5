//! `var-train tokenizer`.

use serde_json::{Value, json};
use toml::Table;
use var_tokenizer::cost;
use var_tokenizer::images::Source;
use var_tokenizer::memory;
use var_tokenizer::progress::{Progress, say};
use var_tokenizer::torch::Precision;

use super::{Common, Stored, add_estimate, add_memory, finish, publish, resolve, stored, write_config};
use crate::distributed::Ranks;
use crate::engine::{self, MODEL_FILE, Task};
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
            "peak_memory_bytes": memory::peak(),
        }),
    )?;
    progress.note(&format!("wrote {}", file.display()));
    Ok(())
}
