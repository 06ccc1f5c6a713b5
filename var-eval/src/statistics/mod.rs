//! What remains of a set's features when the pictures are gone: mean and covariance, and their files.
//!
//! - [`gaussian`]: mean and covariance, gathered from batches
//! - [`mod@file`]: npz files of pytorch-fid and ADM

pub mod file;
pub mod gaussian;
mod spectrum;

pub use gaussian::{Accumulator, Gaussian};
