//! Ladders of models: plans, sweeps, power-law fits, plots and the report.
//!
//! This crate touches no tensor. It starts the other programs, reads the files that they leave, and every
//! exponent that it gives comes with its interval, or not at all.
//!
//! ```
//! use var_scaling::fit::power::{Curve, Mode, fit};
//! let law = Curve { alpha: -0.2, ln_beta: 2.5_f64.ln(), irreducible: 5.0 };
//! let points: Vec<(f64, f64)> = [0.3, 0.6, 1.0, 2.0].into_iter().map(|n| (n, law.at(n))).collect();
//! let found = fit(&points, Mode::Fitted).map(|f| f.curve.alpha);
//! assert!(found.is_some_and(|alpha| (alpha + 0.2).abs() < 1e-6));
//! ```

pub mod error;
pub mod fit;
pub mod ladder;
pub mod machine;
pub mod notes;
pub mod pictures;
pub mod plan;
pub mod plot;
pub mod preparation;
pub mod preset;
pub mod report;
pub mod request;
pub mod result_line;
pub mod results;
pub mod rows;
pub mod scores;
pub mod settings;
pub mod sweep;
pub mod text;
pub mod words;

pub use error::{Error, Result};
