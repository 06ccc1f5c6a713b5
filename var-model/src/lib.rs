//! VAR transformer: predicts whole token maps, coarse to fine.
pub mod commands;
pub mod config;
pub mod cost;
pub mod error;
pub mod golden;
pub mod sampling;
pub mod transformer;

pub use config::TransformerConfig;
pub use error::{Error, Result};
pub use transformer::Transformer;
pub use var_tokenizer::ScaleSchedule;
