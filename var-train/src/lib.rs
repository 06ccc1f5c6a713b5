//! Trains tokenizers on pictures and transformers on token files.
//!
//! Invariant: what follows a resume is bit-equal to what would have followed without the stop, on the same
//! machine. Every random decision is a function of (seed, step, sample), and a checkpoint holds all the
//! rest.
//!
//! [`engine::train`] is the loop; what it trains is an [`engine::Task`]: [`tokenizer::TokenizerTask`] or
//! [`transformer::ModelTask`]. A run lives in a [`run::RunFolder`].
//!
//! ```
//! use var_train::settings::Training;
//!
//! // The published recipe, but for the length: 2% of the run is warm-up, then 5% of the rest is flat.
//! let settings = Training { steps: 1000, batch: 256, ..Training::default() };
//! let schedule = settings.schedule(settings.total_steps(0));
//! assert_eq!(schedule.learning_rate(30), 1e-4);
//! assert!(schedule.learning_rate(999) < 1.01e-5);
//! ```

pub mod average;
pub mod checkpoint;
pub mod commands;
pub mod data;
pub mod distributed;
pub mod earlier;
pub mod effects;
pub mod engine;
pub mod error;
pub mod events;
pub mod golden;
pub mod layers;
pub mod loss_scale;
pub mod optimizer;
pub mod presets;
pub mod run;
pub mod schedule;
pub mod settings;
pub mod throughput;
pub mod tokenizer;
pub mod transformer;

pub use error::{Error, Result};
