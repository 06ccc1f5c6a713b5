//! Structural similarity.
//!
//! Wang, Bovik, Sheikh and Simoncelli, "Image quality assessment: from error visibility to structural
//! similarity" (2004): a Gaussian window of 11 × 11 with σ = 1.5, population moments, only positions
//! of the window inside the image, `C1 = (0.01 · 255)²`, `C2 = (0.03 · 255)²`, each channel separately,
//! mean over positions and channels. scikit-image gives the same with `gaussian_weights=True, sigma=1.5,
//! use_sample_covariance=False` (its default is a uniform window of 7 × 7 with the sample covariance), as
//! does piq with `downsample=False`. By default, piq averages blocks first: [`Downsampling::Blocks`].

use super::{DATA_RANGE, same_shape};
use crate::error::{Error, Result};
use crate::inputs::Picture;

/// Side of the window in pixels.
pub const TAPS: usize = 11;
/// Standard deviation of the Gaussian window in pixels.
pub const SIGMA: f64 = 1.5;
/// The paper's K1, which keeps the luminance term finite.
pub const K1: f64 = 0.01;
/// The paper's K2, which keeps the contrast and structure term finite.
pub const K2: f64 = 0.03;

/// Approximate shorter side after block averaging.
const BLOCK_TARGET: f64 = 256.0;

/// How both images are made smaller before the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Downsampling {
    /// Not at all: full size.
    None,
    /// Means of f × f blocks, `f = max(1, round(shorter side / 256))`, without an incomplete last block.
    Blocks,
}

impl Downsampling {
    /// Side of a block for images of this size. Halves round to even, as in Python.
    pub fn factor(self, width: usize, height: usize) -> usize {
        match self {
            Self::None => 1,
            Self::Blocks => ((width.min(height) as f64 / BLOCK_TARGET).round_ties_even() as usize).max(1),
        }
    }
}

/// SSIM of `sample` against `reference`: at most 1, and exactly 1 for identical images.
///
/// # Errors
/// [`Error::Shapes`] when the images differ in size or channels, [`Error::TooSmall`] when a side (after
/// downsampling) is shorter than the window.
pub fn ssim(reference: &Picture, sample: &Picture, downsampling: Downsampling) -> Result<f64> {
    same_shape(reference, sample)?;
    let (width, height, channels) = reference.shape();
    let factor = downsampling.factor(width, height);
    let (x, y) = (block_means(reference, factor), block_means(sample, factor));
    let (width, height) = (width / factor, height / factor);
    if width.min(height) < TAPS {
        return Err(Error::TooSmall { least: TAPS, width, height });
    }
    Ok(mean_similarity(&x, &y, width, height, channels))
}

/// Means of `factor` × `factor` blocks, `[height / factor, width / factor, channels]`.
fn block_means(picture: &Picture, factor: usize) -> Vec<f64> {
    let (width, height, channels) = picture.shape();
    let row = width * channels;
    let area = (factor * factor) as f64;
    let mut means = Vec::with_capacity(picture.bytes().len() / (factor * factor));
    for i in 0..height / factor {
        for j in 0..width / factor {
            for channel in 0..channels {
                let corner = i * factor * row + j * factor * channels + channel;
                let block = (0..factor).flat_map(|a| (0..factor).map(move |b| a * row + b * channels));
                let sum: u64 = block.map(|offset| u64::from(picture.bytes()[corner + offset])).sum();
                means.push(sum as f64 / area);
            }
        }
    }
    means
}

/// Mean of the similarity over all valid positions and channels of two images `[height, width, channels]`.
///
/// The window is separable. For each row of positions, sums run down the columns, then along the row, so the working memory
/// is one row. All sums are symmetric in the two images and equal for equal ones, so the result for these is exactly 1.
fn mean_similarity(x: &[f64], y: &[f64], width: usize, height: usize, channels: usize) -> f64 {
    let window = gaussian();
    let row = width * channels;
    let (rows, columns) = (height - TAPS + 1, (width - TAPS + 1) * channels);
    let mut total = 0.0;
    let mut down = vec![[0.0; 4]; row];
    for top in 0..rows {
        down.fill([0.0; 4]);
        for (tap, weight) in window.iter().enumerate() {
            let start = (top + tap) * row;
            let samples = x[start..start + row].iter().zip(&y[start..start + row]);
            for (moments, (&a, &b)) in down.iter_mut().zip(samples) {
                for (moment, term) in moments.iter_mut().zip([a, b, a * a + b * b, a * b]) {
                    *moment += weight * term;
                }
            }
        }
        let mut row_total = 0.0;
        for column in 0..columns {
            let mut moments = [0.0; 4];
            for (weight, below) in window.iter().zip(down[column..].iter().step_by(channels)) {
                for (moment, term) in moments.iter_mut().zip(below) {
                    *moment += weight * term;
                }
            }
            row_total += similarity(moments);
        }
        total += row_total;
    }
    total / (rows * columns) as f64
}

/// Similarity from the weighted means of `x`, `y`, `x² + y²` and `x·y`: formula (13) of the paper, which needs only the sum of
/// the variances.
fn similarity([x, y, squares, product]: [f64; 4]) -> f64 {
    let c1 = (K1 * DATA_RANGE).powi(2);
    let c2 = (K2 * DATA_RANGE).powi(2);
    let mean_squares = x * x + y * y;
    let mean_product = x * y;
    let variances = squares - mean_squares;
    let covariance = product - mean_product;
    (2.0 * mean_product + c1) * (2.0 * covariance + c2) / ((mean_squares + c1) * (variances + c2))
}

/// Weights of the window, which sum to 1.
fn gaussian() -> [f64; TAPS] {
    let centre = (TAPS / 2) as f64;
    let taps: [f64; TAPS] = std::array::from_fn(|i| (-0.5 * ((i as f64 - centre) / SIGMA).powi(2)).exp());
    let sum: f64 = taps.iter().sum();
    taps.map(|tap| tap / sum)
}
