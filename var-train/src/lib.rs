//! Trains tokenizers on images and VAR transformers on token files.
//!
//! A run lives in a folder: checkpoints, log, configuration and result. A resumed run is bit-equal to an uninterrupted one,
//! on the same machine: every random decision is a function of (seed, step, sample), and a checkpoint holds the rest.
//!
//! ```no_run
//! use std::ops::ControlFlow;
//! use var_train::TrainModel;
//! use var_train::settings::ModelRun;
//!
//! let sizes = ["depth=3", "width=96", "heads=3", "steps=800"];
//! let settings = ModelRun::preset("nano", sizes)?;
//! let run = TrainModel::new("tokens.h5", "builtin", "runs/small").settings(settings);
//! let result = run.run(|step| {
//!     println!("step {}: loss {:.3}", step.step, step.loss());
//!     ControlFlow::Continue(()) // Break saves a checkpoint and stops
//! })?;
//! // The model is runs/small/model.safetensors.
//! println!("held-out loss {:.3}", result.val_loss_all);
//! # Ok::<(), var_train::Error>(())
//! ```
//!
//! The main types:
//!
//! - [`TrainModel`] and [`TrainTokenizer`] train, plan and check.
//! - [`settings::ModelRun`] and [`settings::TokenizerRun`] are the settings; [`settings::Layers`] combines preset, file and
//!   single settings.
//! - [`records`] has the reports: [`records::StepReport`], [`records::Validation`], [`records::ModelResult`] and more. The
//!   files of a run folder hold the same types.
//! - [`engine::train`] is the loop for a network of your own, an [`engine::Task`].

#[doc(hidden)]
pub mod average;
pub(crate) mod checkpoint;
pub(crate) mod data;
#[doc(hidden)]
pub mod distributed;
pub(crate) mod earlier;
pub mod engine;
#[doc(hidden)]
pub mod error;
pub(crate) mod events;
#[doc(hidden)]
pub mod golden;
#[doc(hidden)]
pub mod loss_scale;
pub(crate) mod optimizer;
pub mod records;
#[doc(hidden)]
pub mod run;
pub mod schedule;
pub mod settings;
#[doc(hidden)]
pub mod throughput;
#[doc(hidden)]
pub mod tokenizer;
#[doc(hidden)]
pub mod train;
#[doc(hidden)]
pub mod transformer;

pub use engine::Event;
pub use error::{Error, Result};
pub use train::{TrainModel, TrainTokenizer};
