//! The VAR transformer: predicts whole token maps, from coarse to fine; samples images, and edits photos.
//!
//! ```no_run
//! use var_model::{Sampling, Var};
//!
//! let var = Var::open("builtin")?; // or Var::open("var-d16")?, or a run folder, or a file
//! let sampling = Sampling { cfg: 4.0, ..Default::default() };
//! for (i, image) in var.sample(&["flags", "animals-nature"], &sampling)?.iter().enumerate() {
//!     image.save(format!("{i}.png"))?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | you want | start with |
//! |---|---|
//! | images of classes | [`Var::sample`], [`Sampling`], [`Class`] |
//! | to edit a photo | [`Var::edit`], [`Edit`] |
//! | the image after each scale | [`Var::sample_scales`] |
//! | parameters, FLOPs and memory of a size | [`cost`] |
//! | tensors: teacher-forced logits | [`Transformer::forward`], `tch` |
//! | tensors: one scale at a time, with a cache | [`sampling::Sampler`] |
//!
//! One forward code serves training and sampling. A token sees its own scale and all earlier ones; this needs no mask.
//! Nothing here changes the process: no signal handlers, no environment variables, no panic hooks. A program may call
//! `var_tokenizer::torch::start` first, which prepares the process for speed.

pub mod cost;
pub mod sampling;
pub mod transformer;

// For the programs and tests of this workspace: not part of the interface, and may change at any time.
#[doc(hidden)]
pub mod classes;
#[doc(hidden)]
pub mod commands;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod edit;
#[doc(hidden)]
pub mod golden;
#[doc(hidden)]
pub mod outputs;
#[doc(hidden)]
pub mod rejection;
#[doc(hidden)]
pub mod serve;
#[doc(hidden)]
pub mod source;

mod builtin;
mod error;
mod inference;
mod order;
mod steps;
mod var;

#[doc(inline)]
pub use classes::ClassNames;
#[doc(inline)]
pub use config::{Standardisation, TransformerConfig};
#[doc(inline)]
pub use edit::FractionBox;
pub use error::{Error, Result};
pub use order::Order;
pub use transformer::Transformer;
pub use var::{Class, Edit, Sampling, Var};
pub use var_tokenizer::{DeviceChoice, Precision, ScaleSchedule, tch};
