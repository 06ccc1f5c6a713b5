//! `var-model cost`: what a configuration costs, printed.

use serde_json::json;
use var_tokenizer::progress::say;

use crate::config::TransformerConfig;
use crate::cost;
use crate::error::Result;

/// Prints what `config` costs on standard output, as a table or one JSON object; `batch` pictures a step
/// count for the memory.
///
/// # Errors
/// When the configuration does not fit together.
pub fn print(config: &TransformerConfig, batch: usize, as_json: bool) -> Result<()> {
    config.validate()?;
    let (single, half) = (cost::training_memory(config, batch, 4), cost::training_memory(config, batch, 2));
    if as_json {
        say(json!({
            "parameters": cost::parameters(config), "tokens": config.schedule.tokens(),
            "forward_flops": cost::forward_flops(config), "training_flops": cost::training_flops(config),
            "six_n_d": cost::six_n_d(config), "memory_f32": single, "memory_bf16": half,
        }))?;
        return Ok(());
    }
    say(format_args!("parameters             {:>18}", cost::parameters(config)))?;
    say(format_args!("tokens a picture       {:>18}", config.schedule.tokens()))?;
    say(format_args!("forward, a picture     {:>18.3} GFLOP", cost::forward_flops(config) / 1e9))?;
    say(format_args!(
        "training, a picture    {:>18.3} GFLOP (6·N·D: {:.3})",
        cost::training_flops(config) / 1e9,
        cost::six_n_d(config) / 1e9
    ))?;
    say(format_args!("training memory, f32   {:>18.3} GB at batch {batch}", single.total() / 1e9))?;
    say(format_args!("training memory, bf16  {:>18.3} GB at batch {batch}", half.total() / 1e9))?;
    Ok(())
}
