//! A point that a law is fitted to.

use serde::{Deserialize, Serialize};

/// One point that a law was fitted to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Name of the run.
    pub run: String,
    /// Name of its size.
    pub size: String,
    /// Parameters or compute, in the law's unit.
    pub x: f64,
    /// Loss or error rate.
    pub y: f64,
}
