//! Scores pictures: samples against a reference (FID and its kin), reconstructions against their originals.
//!
//! The invariant: **a number never leaves without its protocol.** An FID says little without its network,
//! preprocessing, reference and number of pictures. So a [`report::Report`] and a [`reconstruction::Report`] can be
//! made only by measuring, carry what they were measured under, and print all of it, as text and as JSON.
//!
//! - [`metrics`]: the measures on pairs of pictures, and on sets of features and logits
//! - [`statistics`]: means and covariances of features, and their files
//! - [`features`]: networks, and the file of what they said about a set of pictures
//! - [`score`], [`warnings`], [`protocol`], [`report`]: two sets of features to figures
//! - [`inputs`]: sets of pictures; pictures, and folders of them matched by file name
//! - [`reconstruction`]: a whole set, and its report
//! - [`golden`]: the same measures against figures of published tools
//!
//! ```
//! use var_eval::inputs::Picture;
//! use var_eval::metrics::{psnr, ssim};
//!
//! // Two grey 16 × 16 pictures that differ by one grey level everywhere.
//! let reference = Picture::new(16, 16, 1, vec![100; 256])?;
//! let sample = Picture::new(16, 16, 1, vec![101; 256])?;
//! assert!((psnr::psnr(&reference, &sample)? - 48.1308).abs() < 1e-4);
//! assert!(ssim::ssim(&reference, &sample, ssim::Downsampling::None)? > 0.999);
//! # Ok::<(), var_eval::Error>(())
//! ```

pub mod error;
pub mod features;
pub mod golden;
pub mod inputs;
pub mod metrics;
pub mod protocol;
pub mod reconstruction;
pub mod report;
pub mod score;
pub mod statistics;
pub mod warnings;

pub use error::{Error, Result};
