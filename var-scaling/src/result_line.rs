//! A finished run: the line of `results.jsonl`, and the metrics of the laws.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use var_train::records::ModelScores;

/// The unit of `N`: billions of parameters, as published.
pub(crate) const PARAMETER_UNIT: f64 = 1e9;

/// A score on held-out images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Cross-entropy over all tokens.
    LossAll,
    /// Cross-entropy over the last scale.
    LossLast,
    /// Share of wrong tokens.
    ErrorAll,
    /// Share of wrong tokens of the last scale.
    ErrorLast,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 4] = [Self::LossAll, Self::LossLast, Self::ErrorAll, Self::ErrorLast];

    /// The key, as in `metrics.jsonl`.
    pub fn key(self) -> &'static str {
        match self {
            Self::LossAll => "loss_all",
            Self::LossLast => "loss_last",
            Self::ErrorAll => "err_all",
            Self::ErrorLast => "err_last",
        }
    }

    /// The metric with this key.
    pub fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|metric| metric.key() == key)
    }

    /// The keys of all metrics, for a message.
    pub(crate) fn keys() -> String {
        Self::ALL.map(Self::key).join(", ")
    }

    /// The symbol, for example `L_all`.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::LossAll => "L_all",
            Self::LossLast => "L_last",
            Self::ErrorAll => "Err_all",
            Self::ErrorLast => "Err_last",
        }
    }

    /// The metric in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::LossAll => "validation loss, all scales",
            Self::LossLast => "validation loss, last scale",
            Self::ErrorAll => "validation token error, all scales",
            Self::ErrorLast => "validation token error, last scale",
        }
    }

    /// The value in the scores of a validation.
    pub fn of(self, scores: &ModelScores) -> f64 {
        match self {
            Self::LossAll => scores.loss_all,
            Self::LossLast => scores.loss_last,
            Self::ErrorAll => scores.err_all,
            Self::ErrorLast => scores.err_last,
        }
    }

    /// Exponent and `β` of the paper, for billions of parameters.
    pub fn published_by_parameters(self) -> (f64, f64) {
        match self {
            Self::LossAll => (-0.20, 2.5),
            Self::LossLast => (-0.23, 2.0),
            Self::ErrorAll => (-0.010, 6.5e2),
            Self::ErrorLast => (-0.016, 4.9e2),
        }
    }

    /// Exponent and `β` of the paper, for 10¹⁵ FLOPs.
    pub fn published_by_compute(self) -> (f64, f64) {
        match self {
            Self::LossAll => (-0.16, 1.5e-5),
            Self::LossLast => (-0.13, 2.2e-5),
            Self::ErrorAll => (-0.011, 4.4e-2),
            Self::ErrorLast => (-0.0067, 8.1e-2),
        }
    }
}

/// One finished size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultLine {
    /// Name of the run.
    pub name: String,
    /// Blocks.
    pub depth: usize,
    /// Channels.
    pub width: usize,
    /// Heads.
    #[serde(default)]
    pub heads: usize,
    /// Number of trainable parameters.
    pub params: u64,
    /// Optimizer steps.
    #[serde(default)]
    pub steps: u64,
    /// Number of training tokens, repeats included.
    pub tokens: u64,
    /// Training FLOPs.
    pub flops: f64,
    /// Validation loss over all tokens.
    pub val_loss_all: f64,
    /// Validation loss over the last scale.
    pub val_loss_last: f64,
    /// Validation token error over all tokens.
    pub val_err_all: f64,
    /// Validation token error over the last scale.
    pub val_err_last: f64,
    /// Seconds of training.
    pub seconds: f64,
    /// Seed of the run.
    #[serde(default)]
    pub seed: u64,
    /// Run folder, from the sweep folder.
    pub run: PathBuf,
    /// Whether no law is fitted to it: it was forecast, then trained.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held_out: bool,
    /// Precision of the training, `f32` or `bf16`; empty if unknown.
    #[serde(default)]
    pub precision: String,
    /// Fingerprint of its settings.
    #[serde(default)]
    pub plan: String,
}

impl ResultLine {
    /// The value of a metric.
    pub fn metric(&self, metric: Metric) -> f64 {
        match metric {
            Metric::LossAll => self.val_loss_all,
            Metric::LossLast => self.val_loss_last,
            Metric::ErrorAll => self.val_err_all,
            Metric::ErrorLast => self.val_err_last,
        }
    }

    /// Name of the size. All seeds of a size share it.
    pub fn size(&self) -> String {
        format!("{}x{}", self.depth, self.width)
    }
}

#[cfg(test)]
impl ResultLine {
    /// A finished size, for tests.
    pub(crate) fn example(name: &str, params: u64) -> Self {
        serde_json::from_value(serde_json::json!({
            "name": name, "depth": 1, "width": 32, "params": params, "tokens": 10, "flops": 1e12,
            "val_loss_all": 5.0, "val_loss_last": 5.1, "val_err_all": 0.9, "val_err_last": 0.95,
            "seconds": 1.5, "run": format!("runs/{name}"),
        }))
        .unwrap()
    }
}
