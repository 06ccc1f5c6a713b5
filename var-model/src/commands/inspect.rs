//! `var-model inspect`: describes a weight file.

use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use tch::{Device, Kind};
use var_tokenizer::memory;
use var_tokenizer::progress::say;
use var_tokenizer::weights::{Checkpoint, Parameters, Role, StateDict};
use var_tokenizer::{ScaleSchedule, TokenizerConfig, VqVae};

use crate::builtin;
use crate::config::TransformerConfig;
use crate::cost;
use crate::error::Result;
use crate::transformer::Transformer;

/// Prints tensors, configuration and cost of the networks in the file at `path`, or of one part of it, as tables or one
/// JSON object. Reads only names and shapes.
///
/// # Errors
/// When the file is damaged or holds no weights.
pub fn print(path: &Path, schedule: Option<&ScaleSchedule>, only: Option<&str>, as_json: bool) -> Result<()> {
    let checkpoint = open(path, only)?;
    let stated = ScaleSchedule::stated_in(&checkpoint);
    let schedule = schedule.or(stated.as_ref());
    let parts: Vec<Value> = checkpoint.parts.iter().map(|(key, dict)| part(key, dict, schedule)).collect();
    let bytes = builtin::size(path)?;
    if as_json {
        say(json!({"layout": checkpoint.layout.to_string(), "bytes": bytes, "parts": parts}))?;
        return Ok(());
    }
    say(format_args!("file         {} ({}, {bytes} bytes)", path.display(), checkpoint.layout))?;
    if parts.is_empty() {
        say("tensors      none")?;
    }
    for part in &parts {
        table(part)?;
    }
    Ok(())
}

/// The file at `path`, with the part `only` alone.
fn open(path: &Path, only: Option<&str>) -> Result<Checkpoint> {
    let mut checkpoint = builtin::checkpoint(path)?;
    if let Some(only) = only {
        let role = checkpoint.choose(only)?;
        checkpoint.parts.retain(|_, dict| Role::of(dict) == Some(role));
    }
    Ok(checkpoint)
}

/// Loads the networks in the file at `path` in `kind`, and prints the time and the memory that this took.
///
/// # Errors
/// When the tensors do not fit together or the file cannot be read.
pub fn load(
    path: &Path,
    schedule: Option<&ScaleSchedule>,
    only: Option<&str>,
    kind: Kind,
    as_json: bool,
) -> Result<()> {
    let checkpoint = open(path, only)?;
    let stated = ScaleSchedule::stated_in(&checkpoint);
    let schedule = schedule.or(stated.as_ref());
    for dict in checkpoint.parts.values() {
        let (before, began) = (memory::peak().unwrap_or(0.0), Instant::now());
        let parameters = match Role::of(dict) {
            None => continue,
            Some(Role::Transformer) => {
                let config = TransformerConfig::of(dict, schedule, None)?;
                let model = Transformer::for_inference(dict, &config, Device::Cpu, kind)?;
                bytes(model.parameters())
            }
            Some(Role::Tokenizer) => {
                let config = TokenizerConfig::of(dict, schedule)?;
                bytes(VqVae::for_inference(dict, &config, Device::Cpu, kind)?.parameters())
            }
        };
        let (seconds, grown) = (began.elapsed().as_secs_f64(), memory::peak().unwrap_or(0.0) - before);
        if as_json {
            say(json!({"loaded": dict.name, "bytes": parameters, "memory": grown, "seconds": seconds}))?;
        } else {
            say(format_args!(
                "loaded       {}: {:.3} GB of parameters in {seconds:.1} s; memory grew by {:.3} GB",
                dict.name,
                parameters as f64 / 1e9,
                grown / 1e9
            ))?;
        }
    }
    Ok(())
}

/// Bytes of all parameters and buffers.
fn bytes(parameters: &Parameters) -> usize {
    parameters.entries().iter().map(|p| p.tensor.numel() * p.tensor.kind().elt_size_in_bytes()).sum()
}

/// One set of tensors.
fn part(key: &str, dict: &StateDict, schedule: Option<&ScaleSchedule>) -> Value {
    let role = Role::of(dict);
    let (config, cost) = match role {
        None => (Err("neither a tokenizer nor a transformer".to_owned()), Value::Null),
        Some(Role::Transformer) => match TransformerConfig::of(dict, schedule, None) {
            Ok(config) => (
                Ok(json!(config)),
                json!({
                    "parameters": cost::parameters(&config), "tokens": config.schedule.tokens(),
                    "forward_flops": cost::forward_flops(&config),
                }),
            ),
            Err(e) => (Err(e.to_string()), Value::Null),
        },
        Some(Role::Tokenizer) => match TokenizerConfig::of(dict, schedule) {
            Ok(config) => (
                Ok(json!(config)),
                json!({
                    "parameters": var_tokenizer::cost::parameters(&config), "tokens": config.schedule.tokens(),
                    "encode_flops": var_tokenizer::cost::encode_flops(&config),
                    "decode_flops": var_tokenizer::cost::decode_flops(&config),
                }),
            ),
            Err(e) => (Err(e.to_string()), Value::Null),
        },
    };
    let tensors: Vec<Value> = dict
        .tensors
        .iter()
        .map(|(name, t)| json!({"name": name, "type": format!("{:?}", t.kind()), "shape": t.shape()}))
        .collect();
    let values: usize = dict.tensors.values().map(|t| t.numel()).sum();
    json!({
        "part": key, "role": role.map(|role| role.to_string()), "tensors": tensors, "values": values,
        "skipped": dict.skipped, "notes": dict.notes,
        "config": config.as_ref().ok(), "unknown": config.as_ref().err(), "cost": cost,
    })
}

fn table(part: &Value) -> Result<()> {
    let key = part["part"].as_str().unwrap_or("");
    let role = part["role"].as_str().unwrap_or("tensors");
    say(format_args!("\n{role}{}", if key.is_empty() { String::new() } else { format!(" (at {key})") }))?;
    let empty = Vec::new();
    for tensor in part["tensors"].as_array().unwrap_or(&empty) {
        let name = tensor["name"].as_str().unwrap_or("");
        let kind = tensor["type"].as_str().unwrap_or("");
        say(format_args!("  {name:<48} {kind:<9} {}", tensor["shape"]))?;
    }
    say(format_args!(
        "  {} tensors, {} values",
        part["tensors"].as_array().map_or(0, Vec::len),
        part["values"]
    ))?;
    for (name, what) in part["skipped"].as_object().into_iter().flatten() {
        say(format_args!("  skipped: {name} is {}", what.as_str().unwrap_or("")))?;
    }
    for note in part["notes"].as_array().into_iter().flatten() {
        say(format_args!("  note: {}", note.as_str().unwrap_or("")))?;
    }
    for (title, table) in [("configuration", &part["config"]), ("cost", &part["cost"])] {
        let Some(entries) = table.as_object() else { continue };
        say(title)?;
        for (name, value) in entries {
            let number = value.as_f64().filter(|_| name.ends_with("flops"));
            match number {
                Some(flops) => say(format_args!(
                    "  {:<48} {:.1} GFLOP per image",
                    name.replace("_flops", ""),
                    flops / 1e9
                ))?,
                None => say(format_args!("  {name:<48} {value}"))?,
            }
        }
    }
    if let Some(why) = part["unknown"].as_str() {
        say(format_args!("configuration\n  not known: {why}"))?;
    }
    Ok(())
}
