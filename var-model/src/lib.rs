//! The VAR transformer: predicts whole token maps, coarse to fine; samples images; tells what it costs.
//!
//! Invariant: one forward code for training and sampling. A token sees its own scale and all earlier
//! ones, which needs no mask; a mask exists only in the tests, as the oracle.
//!
//! [`Var`] is the way in: a run folder or released files, and images come out.
//!
//! ```no_run
//! use var_model::{Sampling, Var};
//!
//! let var = Var::open("var_d16.pth")?.with_tokenizer("vae_ch160v4096z32.pth")?;
//! let sampling = Sampling { cfg: 4.0, ..Default::default() };
//! for (i, image) in var.sample(&["goldfish", "980"], &sampling)?.iter().enumerate() {
//!     image.save(format!("{i}.png"))?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Below it, [`Transformer::forward`] is teacher-forced, [`sampling::Sampler`] runs one scale at a time with a cache, and
//! [`cost`] needs the configuration alone.

pub mod classes;
pub mod config;
pub mod cost;
pub mod edit;
pub mod sampling;
pub mod transformer;
pub mod var;

// For the programs and tests of this workspace: not part of the interface, and may change at any time.
#[doc(hidden)]
pub mod commands;
#[doc(hidden)]
pub mod golden;
#[doc(hidden)]
pub mod outputs;
#[doc(hidden)]
pub mod rejection;
#[doc(hidden)]
pub mod source;

mod error;
mod inference;

pub use classes::ClassNames;
pub use config::TransformerConfig;
pub use error::{Error, Result};
pub use transformer::Transformer;
pub use var::{Class, Edit, Sampling, Var};
pub use var_tokenizer::ScaleSchedule;
