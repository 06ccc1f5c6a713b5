//! Training of a transformer or a tokenizer, from the settings to the finished files.
//!
//! [`TrainModel`] and [`TrainTokenizer`] check their inputs, open the run folder, train, and write the result.

mod config;
pub mod model;
mod options;
mod plan;
pub mod tokenizer;

pub use model::TrainModel;
pub use tokenizer::TrainTokenizer;
