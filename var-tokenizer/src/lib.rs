//! The multi-scale VQ-VAE of visual autoregressive modeling (VAR): image → token ids per scale → image.
//!
//! Ids and latents agree with the published tokenizer on the same weights; golden cases check this.
//!
//! ```no_run
//! use var_tokenizer::Tokenizer;
//!
//! let tokenizer = Tokenizer::open("var-vae")?; // published weights, a file, a run folder, or "builtin"
//! let maps = tokenizer.encode(&image::open("photo.jpg")?.to_rgb8())?;
//! for (side, ids) in maps.scales() {
//!     println!("{side} × {side}: {ids:?}");
//! }
//! tokenizer.decode(&maps)?.save("reconstruction.png")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | you want | start with |
//! |---|---|
//! | to encode and decode images | [`Tokenizer`], [`TokenMaps`] |
//! | to read the images of a data set | [`images::Source`] |
//! | to read or write a token file | [`tokens::TokenFile`], [`tokens::TokenWriter`] |
//! | tensors: the network, the quantizer | [`VqVae`], [`quantizer::Quantizer`], `tch` |
//! | to read a weight file of any layout | [`weights::Checkpoint`] |
//!
//! Nothing here changes the process: no signal handlers, no environment variables, no panic hooks. A program may call
//! [`torch::start`] first, which prepares the process for speed.

pub mod builtin;
mod data;
#[doc(hidden)]
pub mod hub;
mod runtime;
mod tokenizer;

pub mod quantizer;
pub mod vqvae;

pub use data::{images, schedule, tokens};
pub use runtime::{torch, weights};
pub use tch;

pub use runtime::error::{Error, NotFinite, Result};
pub use schedule::ScaleSchedule;
pub use tokenizer::{TokenMaps, Tokenizer};
pub use torch::{DeviceChoice, Precision};
pub use vqvae::{PhiSharing, TokenizerConfig, VqVae};

// For the programs and tests of this workspace: not part of the interface, and may change at any time.
#[doc(hidden)]
pub mod cost;
#[doc(hidden)]
pub mod encode;
#[doc(hidden)]
pub mod golden;
#[doc(hidden)]
pub mod inspect;
#[doc(hidden)]
pub mod join;
#[doc(hidden)]
pub mod reconstruct;
#[doc(hidden)]
pub use data::{h5, journal};
#[doc(hidden)]
pub use runtime::{command_line, error, files, locks, memory, nearest, progress, random, signals, zips};
#[doc(hidden)]
pub use vqvae::{LAST_LAYER, PERCEPTUAL_KEY};
