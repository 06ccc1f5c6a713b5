//! Peak signal-to-noise ratio.
//!
//! `10 · log10(255² / mean square)`, with the mean over all pixels and channels of one image. Identical images give
//! infinity, as in scikit-image (`peak_signal_noise_ratio`). Some libraries (piq) add a small constant to the mean square,
//! which limits the result to 80 dB; at usual values both agree to about 0.001 dB. The number of a set is the mean of the
//! decibels, not the decibels of the mean, which would be lower and depend mostly on the worst images.

use super::{DATA_RANGE, same_shape};
use crate::error::Result;
use crate::inputs::Picture;

/// PSNR of `sample` against `reference` in decibels; infinite if they are identical.
///
/// # Errors
/// [`crate::Error::Shapes`] when the images differ in size or channels.
pub fn psnr(reference: &Picture, sample: &Picture) -> Result<f64> {
    mean_square(reference, sample).map(decibels)
}

/// Mean of the squared differences of bytes. The sum is exact, because it uses whole numbers.
///
/// # Errors
/// [`crate::Error::Shapes`] when the images differ in size or channels.
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
