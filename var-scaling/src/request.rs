//! The request for a sweep, and the runs that follow from it.

use std::collections::BTreeMap;

use crate::ladder::Size;

/// A request for a sweep.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Request {
    /// Preset name or TOML file.
    pub preset: Option<String>,
    /// Images.
    pub data: Option<String>,
    /// Sizes and ladders, comma-separated.
    pub sizes: Option<String>,
    /// Tokenizer file, or `builtin`.
    pub tokenizer: Option<String>,
    /// Trains a tokenizer first, even if the preset names one.
    pub train_tokenizer: bool,
    /// First seed.
    pub seed: u64,
    /// Runs of every size, with consecutive seeds.
    pub seeds: u64,
    /// `key=value` for every `var-train model`.
    pub set: Vec<String>,
    /// Assumed FLOPs per second; `None` takes the built-in estimate.
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
    /// Name, also of its folder.
    pub name: String,
    /// Size.
    pub size: Size,
    /// Preset of `var-train model`.
    pub preset: String,
    /// Settings of `var-train model`, among them steps, batch, learning_rate and seed.
    pub set: BTreeMap<String, String>,
    /// Optimizer steps.
    pub steps: u64,
    /// Images per step.
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
