//! Peak signal-to-noise ratio.
//!
//! `10 · log10(255² / mean square)`, the mean taken over all pixels and channels of one picture; identical
//! pictures give infinity. So does scikit-image (`peak_signal_noise_ratio`). Some libraries (piq) add a
//! small constant to the mean square, which caps the answer at 80 dB; at ordinary values the two agree to
//! about a thousandth of a decibel. A set's figure is the mean of the decibels, not the decibels of the
//! mean: the second is lower, and is dominated by the worst pictures.

use super::{DATA_RANGE, same_shape};
use crate::error::Result;
use crate::inputs::Picture;

/// PSNR of `sample` against `reference` in decibels; infinite when they are identical.
///
/// # Errors
/// [`crate::Error::Shapes`] when the pictures differ in size or channels.
pub fn psnr(reference: &Picture, sample: &Picture) -> Result<f64> {
    mean_square(reference, sample).map(decibels)
}

/// Mean of the squared differences of bytes. The sum is taken in whole numbers, so it is exact.
///
/// # Errors
/// [`crate::Error::Shapes`] when the pictures differ in size or channels.
pub fn mean_square(reference: &Picture, sample: &Picture) -> Result<f64> {
    same_shape(reference, sample)?;
    let pairs = reference.bytes().iter().zip(sample.bytes());
    let sum: u64 = pairs.map(|(&a, &b)| u64::from(a.abs_diff(b)).pow(2)).sum();
    Ok(sum as f64 / reference.bytes().len() as f64)
}

/// Decibels of a mean square of byte differences.
pub fn decibels(mean_square: f64) -> f64 {
    10.0 * (DATA_RANGE * DATA_RANGE / mean_square).log10()
}
