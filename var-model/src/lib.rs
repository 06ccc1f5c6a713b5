//! The VAR transformer: predicts whole token maps, coarse to fine; samples pictures; tells what it costs.
//!
//! Invariant: one forward code for training and sampling. A token sees its own scale and all earlier
//! ones, which needs no mask; a mask exists only in the tests, as the oracle.
//!
//! [`Transformer::forward`] is teacher-forced, [`sampling::Sampler`] runs a scale at a time with a cache,
//! [`cost`] needs the configuration alone.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use tch::Device;
//! use var_model::Transformer;
//! use var_model::sampling::{Draws, Sampler, SamplingOptions};
//! use var_tokenizer::{builtin, torch};
//!
//! torch::start();
//! let model = Transformer::load(Path::new("runs/small/model.safetensors"), Device::Cpu)?;
//! let tokenizer = builtin::open("runs/small/tokenizer.safetensors", None, Device::Cpu)?.tokenizer;
//! let sampler = Sampler::new(&model, &tokenizer)?;
//! // Pictures number 0 and 1 under seed 7, of classes 3 and 5: [2, 3, S, S] in [-1, 1].
//! let draws = Draws::new(7, vec![0, 1]);
//! let images = sampler.sample(&[3, 5], &draws, &SamplingOptions::default())?.images;
//! # drop(images);
//! # Ok::<(), var_model::Error>(())
//! ```

pub mod classes;
pub mod commands;
pub mod config;
pub mod cost;
pub mod edit;
pub mod error;
pub mod golden;
mod inference;
pub mod outputs;
pub mod rejection;
pub mod sampling;
pub mod source;
pub mod transformer;

pub use classes::ClassNames;
pub use config::TransformerConfig;
pub use error::{Error, Result};
pub use transformer::Transformer;
pub use var_tokenizer::ScaleSchedule;
