//! A point of a law.

use serde::{Deserialize, Serialize};

/// A measurement that a law is fitted to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Name of the run; may be empty.
    pub run: String,
    /// Name of the size. Points with the same name are repetitions of one measurement, for example seeds.
    pub size: String,
    /// Number of parameters, compute or another variable, in the unit of the law.
    pub x: f64,
    /// Loss, error rate or another value.
    pub y: f64,
}

impl Point {
    /// A point without a name. Points with equal `x` are repetitions of one measurement.
    pub fn new(x: f64, y: f64) -> Self {
        Self { run: String::new(), size: x.to_string(), x, y }
    }
}
