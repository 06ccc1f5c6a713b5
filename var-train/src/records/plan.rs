//! The plan of a dry run.

use serde::{Deserialize, Serialize};

/// The plan of a transformer's run, without training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelPlan {
    /// Trainable parameters.
    pub parameters: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Training tokens, repeats included.
    pub tokens: u64,
    /// Training FLOPs.
    pub flops: f64,
    /// Bytes of tensors on one rank, with the settings of the run.
    pub memory_bytes: f64,
    /// The same, if activations are kept.
    pub memory_bytes_without_recompute: f64,
    /// The same, if the backward pass computes blocks again.
    pub memory_bytes_with_recompute: f64,
    /// Training rows in the token file.
    pub train_rows: usize,
    /// Held-out rows in the token file.
    pub val_rows: usize,
    /// Memory of the process, precision and time.
    #[serde(flatten)]
    pub estimate: Estimate,
}

/// The plan of a tokenizer's run, without training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenizerPlan {
    /// Trainable parameters.
    pub parameters: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Training images, repeats included.
    pub images: u64,
    /// Training FLOPs.
    pub flops: f64,
    /// Bytes of tensors.
    pub memory_bytes: f64,
    /// Training images in the source.
    pub train_pictures: usize,
    /// Held-out images in the source.
    pub val_pictures: usize,
    /// Memory of the process, precision and time.
    #[serde(flatten)]
    pub estimate: Estimate,
}

/// What this machine makes of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Bytes that the process takes; `None` on a GPU, whose memory is not the processor's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_bytes: Option<f64>,
    /// Precision of the products: `f32`, `bf16` or `fp16`.
    pub precision: String,
    /// FLOPs per second that the time assumes.
    pub assumed_flops_per_second: f64,
    /// Seconds of training.
    pub estimated_seconds: f64,
}
