//! FD∞: the Fréchet distance that infinitely many samples would have (Chong and Forsyth 2020, "Effectively
//! unbiased FID and Inception Score", `score_infinity.py`).
//!
//! The distance of N samples is too large by almost a constant over N. It is computed for several sizes, each with other
//! rows; the least-squares line over 1/N at 0 is the result. The published script draws its subsets without a seed. Here,
//! subset k is the beginning of a numbered permutation, so the result is repeatable.

use ndarray::{ArrayView2, Axis};
use serde::Serialize;
use var_tokenizer::random::Stream;

use super::frechet;
use crate::error::{Error, Result};
use crate::statistics::Gaussian;

/// Smallest subset of the published script.
pub const LEAST: usize = 5000;
/// Number of subsets of the published script.
pub const POINTS: usize = 15;

/// The extrapolated distance, and the distances that it comes from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Extrapolation {
    /// The distance at 1/N = 0.
    pub distance: f64,
    /// Slope of the distance over 1/N.
    pub slope: f64,
    /// Images of each subset.
    pub sizes: Vec<usize>,
    /// The distance of each.
    pub distances: Vec<f64>,
}

/// `points` whole numbers from `least` to `count`, evenly spaced and rounded down.
///
/// # Errors
/// When there are fewer than two points, or `least` is not below `count`.
pub fn sizes(least: usize, count: usize, points: usize) -> Result<Vec<usize>> {
    if points < 2 || least < 2 || least >= count {
        return Err(Error::measure(format!(
            "FD∞: {points} sizes from {least} to {count} images; expected at least two sizes, and more images than the smallest size"
        )));
    }
    let step = (count - least) as f64 / (points - 1) as f64;
    let inner = (0..points - 1).map(|i| (i as f64 * step + least as f64) as usize);
    Ok(inner.chain([count]).collect())
}

/// The order of the rows for subset `number`, which takes the first ones.
pub fn order(seed: u64, number: usize, count: usize) -> Vec<usize> {
    Stream::new("fd-infinity", seed).at(number as u64).permutation(count)
}

/// The distance of `samples` `[N, D]` to `reference`, extrapolated from subsets of `sizes`. Subset k is the beginning of
/// `order(k)`.
///
/// # Errors
/// When widths differ, a subset has fewer than two rows or rows that do not exist, or libtorch fails.
pub fn extrapolate(
    reference: &Gaussian,
    samples: ArrayView2<'_, f32>,
    sizes: &[usize],
    order: impl Fn(usize) -> Vec<usize>,
) -> Result<Extrapolation> {
    let mut distances = Vec::with_capacity(sizes.len());
    for (number, &size) in sizes.iter().enumerate() {
        let rows = order(number);
        let rows = rows.get(..size).filter(|rows| rows.iter().all(|&row| row < samples.nrows()));
        let rows = rows.ok_or_else(|| {
            Error::measure(format!(
                "FD∞: cannot take a subset of {size} images; the set has {}",
                samples.nrows()
            ))
        })?;
        let subset = Gaussian::of(samples.select(Axis(0), rows).view())?;
        distances.push(frechet::distance(reference, &subset)?.distance);
    }
    let inverse: Vec<f64> = sizes.iter().map(|&size| 1.0 / size as f64).collect();
    let count = sizes.len().max(1) as f64;
    let (x, y) = (inverse.iter().sum::<f64>() / count, distances.iter().sum::<f64>() / count);
    let (mut above, mut below) = (0.0, 0.0);
    for (inverse, distance) in inverse.iter().zip(&distances) {
        above += (inverse - x) * (distance - y);
        below += (inverse - x).powi(2);
    }
    // Not 0 and not NaN.
    if below.partial_cmp(&0.0) != Some(std::cmp::Ordering::Greater) {
        return Err(Error::measure("FD∞: subsets of one size give no line; take different sizes"));
    }
    let slope = above / below;
    Ok(Extrapolation { distance: y - slope * x, slope, sizes: sizes.to_vec(), distances })
}
