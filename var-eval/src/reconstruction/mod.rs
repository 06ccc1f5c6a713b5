//! Reconstructions against their originals.
//!
//! - `builder`: [`Reconstruction`], what to measure, and the run
//! - `pairs`: PSNR, SSIM and LPIPS of each pair; `report`: their means with the protocol

mod builder;
mod pairs;
mod report;

pub use builder::{OpenedReconstruction, Reconstruction};
pub use report::{PairProtocol, PairReport};
