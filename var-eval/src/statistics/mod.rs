//! Statistics of features: mean and covariance, and their files.
//!
//! - [`gaussian`]: mean and covariance, accumulated from batches
//! - [`mod@file`]: npz files of pytorch-fid and ADM

pub mod file;
pub mod gaussian;
mod spectrum;

pub use gaussian::{Accumulator, Gaussian};
