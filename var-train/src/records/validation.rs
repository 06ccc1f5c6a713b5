//! The scores of a validation.

use serde::{Deserialize, Serialize};

/// Scores on the held-out part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// Steps done.
    pub step: u64,
    /// The scores.
    #[serde(flatten)]
    pub scores: Scores,
    /// Images seen since the start of the run, repeats included.
    #[serde(default)]
    pub images: u64,
    /// Tokens seen since the start of the run, repeats included.
    #[serde(default)]
    pub tokens: u64,
    /// Seconds of training since the start of the run.
    #[serde(default)]
    pub seconds: f64,
}

/// The scores of a validation, by network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Scores {
    /// Of the transformer.
    Model(ModelScores),
    /// Of the tokenizer.
    Tokenizer(TokenizerScores),
}

impl Scores {
    /// The scores that are one number, with their keys in the log.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        match self {
            Self::Model(scores) => vec![
                ("loss_all", scores.loss_all),
                ("loss_last", scores.loss_last),
                ("err_all", scores.err_all),
                ("err_last", scores.err_last),
            ],
            Self::Tokenizer(scores) => {
                let all = [("psnr", scores.psnr), ("l1", scores.l1), ("l2", scores.l2)];
                let codes = [("codes_used", scores.codes_used), ("perplexity", scores.perplexity)];
                let codes = codes.into_iter().filter_map(|(key, value)| Some((key, value?)));
                all.into_iter().chain(codes).collect()
            }
        }
    }
}

/// The scores of a transformer. Losses are in nats per token; errors are shares of tokens.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ModelScores {
    /// Cross-entropy over all tokens.
    pub loss_all: f64,
    /// Cross-entropy over the last scale.
    pub loss_last: f64,
    /// Share of wrong tokens.
    pub err_all: f64,
    /// Share of wrong tokens of the last scale.
    pub err_last: f64,
    /// Cross-entropy per scale.
    #[serde(default)]
    pub loss_per_scale: Vec<f64>,
    /// Share of wrong tokens per scale.
    #[serde(default)]
    pub err_per_scale: Vec<f64>,
    /// The scores of the average of the weights, if the run keeps one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub average: Option<Box<ModelScores>>,
}

/// The scores of a tokenizer, on pixels in [-1, 1]. The codes are `None` before quantization starts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TokenizerScores {
    /// Mean PSNR of the reconstructions, in dB.
    pub psnr: f64,
    /// Mean absolute error of the pixels.
    pub l1: f64,
    /// Mean squared error of the pixels.
    pub l2: f64,
    /// Mean PSNR after each scale, in dB, over the first 128 images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub psnr_per_scale: Option<Vec<f64>>,
    /// Number of codes in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes_used: Option<f64>,
    /// Perplexity of the codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity: Option<f64>,
    /// Number of codes in use, per scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codes_per_scale: Option<Vec<f64>>,
    /// Perplexity of the codes, per scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity_per_scale: Option<Vec<f64>>,
    /// A warning, when a scale uses almost no codes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
}
