//! The result of a finished run.

use serde::{Deserialize, Serialize};

use super::validation::ModelScores;

/// `result.json` of a finished transformer, and the event `done`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "done")]
pub struct ModelResult {
    /// Trainable parameters.
    pub parameters: u64,
    /// Training tokens seen, repeats included.
    pub tokens: u64,
    /// Training FLOPs.
    pub flops: f64,
    /// Training FLOPs by the rule 6·N·D.
    #[serde(default)]
    pub six_n_d: f64,
    /// Held-out cross-entropy over all tokens, in nats per token.
    pub val_loss_all: f64,
    /// Held-out cross-entropy over the last scale.
    pub val_loss_last: f64,
    /// Held-out share of wrong tokens.
    pub val_err_all: f64,
    /// Held-out share of wrong tokens of the last scale.
    pub val_err_last: f64,
    /// Held-out cross-entropy per scale.
    #[serde(default)]
    pub val_loss_per_scale: Vec<f64>,
    /// Held-out scores of the average of the weights, if the run keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_average: Option<Box<ModelScores>>,
    /// Seconds of training.
    pub seconds: f64,
    /// Precision of the products: `f32`, `bf16` or `fp16`.
    #[serde(default)]
    pub precision: String,
    /// Blocks.
    #[serde(default)]
    pub depth: usize,
    /// Channels.
    #[serde(default)]
    pub width: usize,
    /// Heads.
    #[serde(default)]
    pub heads: usize,
    /// Peak memory of the process in bytes; `None` where the machine does not say.
    #[serde(default)]
    pub peak_memory_bytes: Option<f64>,
}

/// `result.json` of a finished tokenizer, and the event `done`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "done")]
pub struct TokenizerResult {
    /// Trainable parameters.
    pub parameters: u64,
    /// Mean PSNR of the held-out reconstructions, in dB.
    pub psnr: f64,
    /// Number of codes in use.
    pub codes_used: Option<f64>,
    /// Perplexity of the codes.
    pub perplexity: Option<f64>,
    /// Number of codes in use, per scale.
    pub codes_per_scale: Option<Vec<f64>>,
    /// Images that could not be read.
    #[serde(default)]
    pub bad: u64,
    /// Seconds of training.
    pub seconds: f64,
    /// Precision of the products: `f32` or `bf16`.
    #[serde(default)]
    pub precision: String,
    /// Path of the finished tokenizer.
    pub tokenizer: String,
    /// Peak memory of the process in bytes; `None` where the machine does not say.
    #[serde(default)]
    pub peak_memory_bytes: Option<f64>,
}
