//! The metrics: pure functions of bytes, features or logits, computed in `f64`, with the same result on each run.
//!
//! Each module names its convention and source.
//!
//! - on one pair of images: [`psnr`], [`ssim`], [`lpips`]
//! - on two sets of features `[N, D]`: [`frechet`], [`fd_infinity`], [`kid`], [`precision_recall`] (with density and coverage)
//! - on logits `[N, C]`: [`inception_score`]

pub mod bootstrap;
pub mod fd_infinity;
pub mod frechet;
pub mod inception_score;
pub mod kid;
pub mod lpips;
pub(crate) mod matrix;
pub(crate) mod neighbours;
pub mod numpy_random;
pub mod precision_recall;
pub mod psnr;
pub(crate) mod resampled;
pub mod ssim;

use crate::error::{Error, Result};

#[doc(inline)]
pub use crate::inputs::Picture;

/// Largest value of a byte: the data range of PSNR and SSIM. The result is that of byte/255 with data range 1.
pub const DATA_RANGE: f64 = 255.0;

/// Fails if the images differ in width, height or channels.
fn same_shape(reference: &Picture, sample: &Picture) -> Result<()> {
    if reference.shape() == sample.shape() {
        return Ok(());
    }
    Err(Error::Shapes { reference: reference.shape(), sample: sample.shape() })
}
