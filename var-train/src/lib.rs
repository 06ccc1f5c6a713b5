//! Trains the tokenizer and the transformer.
pub mod checkpoint;
pub mod commands;
pub mod data;
pub mod engine;
pub mod error;
pub mod events;
pub mod golden;
pub mod optimizer;
pub mod presets;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod tokenizer;
pub mod transformer;

pub use error::{Error, Result};
