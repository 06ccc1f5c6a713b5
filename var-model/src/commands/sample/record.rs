//! What `var-model sample` writes about its images: the settings next to them, and the `done` event.

use serde::{Deserialize, Serialize};

use crate::sampling::SamplingOptions;
use crate::source::FileDigest;

/// Everything that the images of a call depend on: `settings.json` in a folder, `NAME.json` next to a grid or an archive.
/// A call resumes only with the same settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SampleSettings {
    /// Name and version of the program.
    pub program: String,
    /// The transformer's file.
    pub model: FileDigest,
    /// The tokenizer's file.
    pub tokenizer: FileDigest,
    /// The smaller model that continued; `None` if one model sampled all scales.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small: Option<SmallSettings>,
    /// Labels of the classes, in the order in which their images are made.
    pub classes: Vec<i64>,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Images of each class.
    pub per_class: usize,
    /// Seed of the call.
    pub seed: u64,
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// Images sampled together.
    pub batch: usize,
    /// Precision: `f32`, `bf16` or `fp16`.
    pub precision: String,
    /// `cpu` or `cuda:N`.
    pub device: String,
    /// How a classifier chose candidates; `None` without rejection.
    pub rejection: Option<RejectionSettings>,
    /// Number of images.
    pub pictures: usize,
    /// Side of an image in pixels.
    pub side: usize,
    /// Order of the rows of an archive and a folder.
    pub order: String,
}

/// A smaller model that continued after the first scales.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SmallSettings {
    /// Its file.
    pub model: FileDigest,
    /// Number of scales that the first model sampled.
    pub large_scales: usize,
}

/// How candidates were chosen by a classifier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RejectionSettings {
    /// Share of candidates that was kept.
    pub keep: f64,
    /// Candidates of each class.
    pub candidates: usize,
    /// Side that images were resized to, in pixels.
    pub size: usize,
    /// Mean of each channel.
    pub mean: [f64; 3],
    /// Standard deviation of each channel.
    pub std: [f64; 3],
    /// The classifier's file.
    pub classifier: FileDigest,
}

/// What a call did: the `done` event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "done")]
pub struct SampleSummary {
    /// Number of images.
    pub pictures: usize,
    /// Images that this call sampled, rejected candidates included.
    pub sampled: usize,
    /// Seconds that sampling took.
    pub seconds: f64,
    /// `sampled` per second.
    pub images_per_second: f64,
    /// The first of `outputs`.
    pub out: Option<String>,
    /// Every file and folder that was written.
    pub outputs: Vec<String>,
    /// What a user should know about the call.
    pub notes: Vec<String>,
    /// Whether an earlier call had finished everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
}
