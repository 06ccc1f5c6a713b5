//! Multi-scale VQ-VAE: picture → token ids per scale → picture.
pub mod builtin;
pub mod encode;
pub mod error;
pub mod golden;
pub mod images;
pub mod progress;
pub mod quantizer;
pub mod random;
pub mod schedule;
pub mod tokens;
pub mod torch;
pub mod vqvae;
pub mod weights;

pub use error::{Error, Result};
pub use schedule::ScaleSchedule;
pub use vqvae::{PhiSharing, TokenizerConfig, VqVae};
