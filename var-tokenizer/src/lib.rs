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
pub mod cost;
mod data;
pub mod encode;
pub mod golden;
pub mod inspect;
pub mod quantizer;
pub mod reconstruct;
mod runtime;
pub mod vqvae;

pub use data::{h5, images, journal, schedule, tokens};
pub use runtime::{
    command_line, error, files, locks, memory, nearest, progress, random, signals, torch, weights, zips,
};

pub use error::{Error, Result};
pub use schedule::ScaleSchedule;
pub use vqvae::{PhiSharing, TokenizerConfig, VqVae};
