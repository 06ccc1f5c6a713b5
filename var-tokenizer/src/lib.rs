//! The multi-scale VQ-VAE of visual autoregressive modelling: picture → token ids per scale → picture.
//!
//! Invariant: ids and latents agree with the published tokenizer on the same weights. The golden cases
//! hold the crate to it.
//!
//! Beside the tokenizer ([`VqVae`], made of [`vqvae`] and [`quantizer`]) it has what all crates share:
//! sources of pictures ([`images`]), token files ([`tokens`]), named weights ([`weights`]), counter-based
//! randomness ([`random`]), and what the bindings of libtorch lack ([`torch`]).
//!
//! ```no_run
//! use tch::{Device, Kind, Tensor};
//! use var_tokenizer::{builtin, torch};
//!
//! torch::start();
//! let tokenizer = builtin::open("builtin", None, Device::Cpu)?.tokenizer;
//! let side = tokenizer.config().image_side() as i64;
//! let grey = Tensor::zeros([2, 3, side, side], (Kind::Float, Device::Cpu));
//! let ids = tokenizer.encode(&grey)?; // [2, L], all scales, coarse to fine
//! let pictures = tokenizer.decode(&ids)?; // [2, 3, S, S] in [-1, 1]
//! assert_eq!(pictures.size(), grey.size());
//! # Ok::<(), var_tokenizer::Error>(())
//! ```

pub mod builtin;
pub mod command_line;
pub mod cost;
pub mod encode;
pub mod error;
pub mod files;
pub mod golden;
pub mod h5;
pub mod images;
pub mod inspect;
pub mod journal;
pub mod locks;
pub mod memory;
pub mod nearest;
mod panics;
pub mod progress;
pub mod quantizer;
pub mod random;
pub mod reconstruct;
pub mod schedule;
pub mod signals;
pub mod tokens;
pub mod torch;
pub mod vqvae;
pub mod weights;
pub mod zips;

pub use error::{Error, Result};
pub use schedule::ScaleSchedule;
pub use vqvae::{PhiSharing, TokenizerConfig, VqVae};
