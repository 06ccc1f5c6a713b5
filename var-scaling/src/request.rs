//! What a sweep is asked to do, and the runs that this makes.

use std::collections::BTreeMap;

use crate::ladder::Size;

/// What a person asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// Preset name or TOML file.
    pub preset: Option<String>,
    /// Pictures.
    pub data: Option<String>,
    /// Sizes and ladders, comma-separated.
    pub sizes: Option<String>,
    /// Tokenizer file, or `builtin`.
    pub tokenizer: Option<String>,
    /// Train the tokenizer first, whatever the preset says.
    pub train_tokenizer: bool,
    /// First seed.
    pub seed: u64,
    /// Runs of every size, with consecutive seeds.
    pub seeds: u64,
    /// `key=value` for every `var-train model`.
    pub set: Vec<String>,
    /// Assumed FLOPs a second; none for the built-in estimate.
    pub flops_rate: Option<f64>,
}

/// Where the tokenizer comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenizerSource {
    /// `builtin` or a file.
    Given(String),
    /// Trained first with these settings of `var-train tokenizer`.
    Trained {
        /// Its preset.
        preset: String,
        /// More settings.
        set: BTreeMap<String, String>,
    },
}

/// One run of the sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Name, which is its folder's.
    pub name: String,
    /// Size.
    pub size: Size,
    /// Preset of `var-train model`.
    pub preset: String,
    /// Settings of `var-train model`, among them steps, batch, learning_rate and seed.
    pub set: BTreeMap<String, String>,
    /// Optimizer steps.
    pub steps: u64,
    /// Pictures a step.
    pub batch: u64,
    /// Seed.
    pub seed: u64,
    /// Trainable parameters.
    pub parameters: u64,
    /// Training tokens.
    pub tokens: u64,
    /// Training FLOPs.
    pub flops: f64,
    /// Bytes of memory in training with activations of two bytes.
    pub memory: f64,
    /// Estimated seconds.
    pub seconds: f64,
}
