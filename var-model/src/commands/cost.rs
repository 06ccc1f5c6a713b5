//! `var-model cost`: prints the cost of a configuration.

use serde_json::json;
use var_tokenizer::progress::say;

use crate::config::TransformerConfig;
use crate::cost::{self, TrainingStep};
use crate::error::Result;

/// Prints the cost of `config` on standard output, as a table or one JSON object. The memory is that of `step`, in f32 and
/// in bf16, and with recompute.
///
/// # Errors
/// When the configuration does not fit together.
pub fn print(config: &TransformerConfig, step: TrainingStep, as_json: bool) -> Result<()> {
    config.validate()?;
    let memory = |bytes, recompute| cost::training_memory(config, &TrainingStep { recompute, bytes, ..step });
    let (batch, place) = (step.batch, if step.fused { "" } else { " on a GPU" });
    if as_json {
        say(json!({
            "parameters": cost::parameters(config), "tokens": config.schedule.tokens(),
            "forward_flops": cost::forward_flops(config), "training_flops": cost::training_flops(config),
            "six_n_d": cost::six_n_d(config), "memory_f32": memory(4, false), "memory_bf16": memory(2, false),
            "memory_f32_recompute": memory(4, true), "memory_bf16_recompute": memory(2, true),
        }))?;
        return Ok(());
    }
    say(format_args!("parameters             {:>18}", cost::parameters(config)))?;
    say(format_args!("tokens per image       {:>18}", config.schedule.tokens()))?;
    say(format_args!("forward, per image     {:>18.3} GFLOP", cost::forward_flops(config) / 1e9))?;
    say(format_args!(
        "training, per image    {:>18.3} GFLOP (6·N·D: {:.3})",
        cost::training_flops(config) / 1e9,
        cost::six_n_d(config) / 1e9
    ))?;
    for (kind, bytes) in [("f32,", 4), ("bf16,", 2)] {
        say(format_args!(
            "training memory, {kind:<5} {:>18.3} GB at batch {batch}{place}, {:.3} GB with recompute",
            memory(bytes, false).total() / 1e9,
            memory(bytes, true).total() / 1e9
        ))?;
    }
    Ok(())
}
