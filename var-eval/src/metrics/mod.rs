//! The measures: pure functions of bytes, features or logits, `f64` inside, the same answer on every run.
//!
//! Each module says which of the conventions in use it follows and from where.
//!
//! - on one pair of pictures: [`psnr`], [`ssim`], [`lpips`]
//! - on two sets of features `[N, D]`: [`frechet`], [`fd_infinity`], [`kid`], [`precision_recall`] (with density and coverage)
//! - on logits `[N, C]`: [`inception_score`]

pub mod bootstrap;
pub mod fd_infinity;
pub mod frechet;
pub mod inception_score;
pub mod kid;
pub mod lpips;
pub(crate) mod matrix;
pub mod neighbours;
pub mod numpy_random;
pub mod precision_recall;
pub mod psnr;
pub mod ssim;

use crate::error::{Error, Result};
use crate::inputs::Picture;

/// Largest value of a sample: the data range of PSNR and SSIM. Bytes are taken as they are, which gives what
/// byte/255 with data range 1 gives.
pub const DATA_RANGE: f64 = 255.0;

/// Fails unless both pictures have the same width, height and channels.
fn same_shape(reference: &Picture, sample: &Picture) -> Result<()> {
    if reference.shape() == sample.shape() {
        return Ok(());
    }
    Err(Error::Shapes { reference: reference.shape(), sample: sample.shape() })
}
