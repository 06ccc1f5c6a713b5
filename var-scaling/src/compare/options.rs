//! How a comparison runs.

use std::path::PathBuf;

/// How a comparison runs; no result depends on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CompareOptions {
    /// Folder; each arm has one in it.
    pub out: PathBuf,
    /// Device for the other programs: `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: Option<String>,
    /// Precision for the other programs: `auto`, `f32` or `bf16`.
    pub precision: Option<String>,
    /// Prints no progress.
    pub quiet: bool,
    /// Trainings, or tokens, that start over, as `ARM/NAME` or `ARM/tokens`.
    pub start_over: Vec<String>,
}
