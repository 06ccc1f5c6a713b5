//! Kernel Inception Distance (Bińkowski and others 2018): the squared maximum mean discrepancy of a cubic
//! kernel, unbiased, over random subsets.
//!
//! Defaults are torch-fidelity's (`metric_kid.py`): 100 subsets of 1000, drawn by numpy's generator under seed
//! 2020, the samples' first; kernel (x·y / D + 1)³; mean and population deviation over the subsets. That tool
//! computes in the `f32` of the features, this module in `f64`. Slightly negative values are correct: the estimate is
//! unbiased.

use ndarray::{ArrayView2, Axis};
use serde::Serialize;
use tch::{Kind, Tensor};

use super::matrix;
use super::numpy_random::RandomState;
use crate::error::{Error, Result};

/// Number of subsets in torch-fidelity.
pub const SUBSETS: usize = 100;
/// Rows of a subset.
pub const SUBSET_SIZE: usize = 1000;
/// Rows of a block of the kernel of a set with itself.
const BLOCK: usize = 250;
/// Seed of the draws.
pub const SEED: u32 = 2020;

/// A distance, and the distances that it is the mean of.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KernelDistance {
    /// Mean over the subsets.
    pub mean: f64,
    /// Standard deviation over the subsets (not divided by the root of their number).
    pub deviation: f64,
    /// The distance of each subset.
    pub subsets: Vec<f64>,
}

/// A subset of both sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subset {
    /// Rows of the samples.
    pub samples: Vec<usize>,
    /// Rows of the reference, the same number.
    pub reference: Vec<usize>,
}

/// torch-fidelity's subsets of `samples` and `reference` images: `count` of `size` rows each.
///
/// # Errors
/// When a set has fewer images than a subset.
pub fn subsets(samples: usize, reference: usize, count: usize, size: usize) -> Result<Vec<Subset>> {
    let fewer = samples.min(reference);
    if fewer < size || size < 2 {
        return Err(Error::measure(format!(
            "KID: subsets of {size} images, but a set has {fewer}; use smaller subsets, of at least two"
        )));
    }
    let mut generator = RandomState::new(SEED);
    let mut draw = |count| generator.choice(count, size);
    Ok((0..count).map(|_| Subset { samples: draw(samples), reference: draw(reference) }).collect())
}

/// The distance between `samples` `[N, D]` and `reference` `[M, D]` over `subsets`.
///
/// # Errors
/// When widths differ, a number is not finite, there is no subset, a subset has fewer than two rows or a row that does not
/// exist, or libtorch fails.
pub fn distance(
    samples: ArrayView2<'_, f32>,
    reference: ArrayView2<'_, f32>,
    subsets: &[Subset],
) -> Result<KernelDistance> {
    matrix::same_width(reference.ncols(), samples.ncols())?;
    matrix::check("samples", samples)?;
    matrix::check("reference", reference)?;
    if subsets.is_empty() {
        return Err(Error::measure("KID: expected at least one subset"));
    }
    let scores: Vec<f64> =
        subsets.iter().map(|subset| discrepancy(samples, reference, subset)).collect::<Result<_>>()?;
    let count = scores.len() as f64;
    let mean = scores.iter().sum::<f64>() / count;
    let deviation = (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt();
    Ok(KernelDistance { mean, deviation, subsets: scores })
}

fn discrepancy(samples: ArrayView2<'_, f32>, reference: ArrayView2<'_, f32>, subset: &Subset) -> Result<f64> {
    let (x, y) = (rows(samples, &subset.samples)?, rows(reference, &subset.reference)?);
    let (n, width) = x.size2()?;
    let between = matrix::sum(&kernel(&x, &y, width)?)? / (n as f64 * y.size2()?.0 as f64);
    Ok(within(&x)? + within(&y)? - 2.0 * between)
}

/// Mean of the kernel over pairs of different rows. It is symmetric, so blocks below the diagonal are not computed.
fn within(x: &Tensor) -> Result<f64> {
    let (count, width) = x.size2()?;
    let (mut diagonal, mut above) = (0.0, 0.0);
    for start in (0..count).step_by(BLOCK) {
        let end = (start + BLOCK as i64).min(count);
        let rows = x.f_narrow(0, start, end - start)?;
        let own = kernel(&rows, &rows, width)?;
        diagonal += matrix::sum(&own)? - own.f_trace()?.f_double_value(&[])?;
        if end < count {
            above += matrix::sum(&kernel(&rows, &x.f_narrow(0, end, count - end)?, width)?)?;
        }
    }
    Ok((diagonal + 2.0 * above) / (count as f64 * (count - 1) as f64))
}

/// (x·y / D + 1)³ for all pairs.
fn kernel(x: &Tensor, y: &Tensor, width: i64) -> Result<Tensor> {
    let mut base = x.f_mm(&y.f_tr()?)?;
    let base = base.f_mul_scalar_(1.0 / width as f64)?.f_add_scalar_(1.0)?;
    Ok(base.f_square()?.f_mul_(&base)?)
}

fn rows(features: ArrayView2<'_, f32>, rows: &[usize]) -> Result<Tensor> {
    let count = features.nrows();
    if rows.len() < 2 {
        return Err(Error::measure(format!("KID: a subset of {} images; expected at least two", rows.len())));
    }
    if let Some(row) = rows.iter().find(|&&row| row >= count) {
        return Err(Error::measure(format!("KID: row {row} does not exist; the set has {count} rows")));
    }
    let chosen = features.select(Axis(0), rows);
    Ok(matrix::tensor(chosen.view())?.f_to_kind(Kind::Double)?)
}
