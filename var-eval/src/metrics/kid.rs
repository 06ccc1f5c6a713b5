//! Kernel Inception Distance: squared maximum mean discrepancy with the kernel (x·y / D + 1)³, unbiased.
//!
//! Bińkowski and others, "Demystifying MMD GANs" (2018), as torch-fidelity computes it: means of the kernel within
//! each set without the diagonal, less twice the full mean between them, over random subsets. Everything is `f64`
//! (the tool's default `f32` strays by 1e-3 of a subset's value where features have an offset). Slightly
//! negative values are right: the estimate is unbiased. Subsets overlap, so their deviation is no standard error.

use ndarray::{ArrayView2, Axis};
use serde::Serialize;
use tch::{Kind, Tensor};

use super::matrix;
use super::numpy_random::RandomState;
use crate::error::{Error, Result};

/// Subsets by default.
pub const SUBSETS: usize = 100;
/// Pictures in a subset by default.
pub const SUBSET_SIZE: usize = 1000;
/// Seed of torch-fidelity's draws.
pub const SEED: u32 = 2020;
/// Rows of a strip of a kernel matrix: of the symmetric ones only strips below the diagonal are computed.
const STRIP: i64 = 256;

/// A distance with those of its subsets.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct KernelDistance {
    /// Mean over the subsets.
    pub mean: f64,
    /// Population standard deviation over the subsets.
    pub deviation: f64,
    /// Pictures in each subset.
    pub subset_size: usize,
    /// The distance of each subset.
    pub subsets: Vec<f64>,
}

/// torch-fidelity's distance of `reference` `[N, D]` and `samples` `[M, D]`, with its own draws: subsets come
/// alternately from the first and the second by `RandomState(2020).choice(…, replace=False)`.
///
/// # Errors
/// As [`of_subsets`], and when a set has fewer than `size` rows.
pub fn torch_fidelity(
    reference: ArrayView2<'_, f32>,
    samples: ArrayView2<'_, f32>,
    subsets: usize,
    size: usize,
) -> Result<KernelDistance> {
    let least = reference.nrows().min(samples.nrows());
    if size > least {
        return Err(Error::measure(format!(
            "KID: subsets of {size} pictures, but a set has only {least}; take smaller subsets"
        )));
    }
    let mut random = RandomState::new(SEED);
    let mut draw = |count| {
        let mut rows = random.permutation(count);
        rows.truncate(size);
        rows
    };
    let pairs: Vec<_> = (0..subsets).map(|_| (draw(reference.nrows()), draw(samples.nrows()))).collect();
    of_subsets(reference, samples, &pairs)
}

/// The distance over the given subsets: rows of `reference` `[N, D]` and of `samples` `[M, D]`.
///
/// # Errors
/// When there is no subset, subsets differ in size, have fewer than two rows or name one that is not there, a
/// number is not finite, the widths differ, or libtorch fails.
pub fn of_subsets(
    reference: ArrayView2<'_, f32>,
    samples: ArrayView2<'_, f32>,
    subsets: &[(Vec<usize>, Vec<usize>)],
) -> Result<KernelDistance> {
    matrix::same_width(reference.ncols(), samples.ncols())?;
    matrix::check("reference", reference)?;
    matrix::check("samples", samples)?;
    let size = subsets.first().map_or(0, |(a, _)| a.len());
    let inside = |rows: &[usize], count: usize| rows.len() == size && rows.iter().all(|&row| row < count);
    let all_inside = subsets.iter().all(|(a, b)| inside(a, reference.nrows()) && inside(b, samples.nrows()));
    if size < 2 || !all_inside {
        return Err(Error::measure(
            "KID: expected subsets of one size, at least two rows, all of which are there",
        ));
    }
    let distances = subsets
        .iter()
        .map(|(a, b)| {
            let take =
                |set: ArrayView2<'_, f32>, rows: &[usize]| matrix::double(set.select(Axis(0), rows).view());
            discrepancy(&take(reference, a)?, &take(samples, b)?)
        })
        .collect::<Result<Vec<f64>>>()?;
    let count = distances.len() as f64;
    let mean = distances.iter().sum::<f64>() / count;
    let variance = distances.iter().map(|d| (d - mean).powi(2)).sum::<f64>() / count;
    Ok(KernelDistance { mean, deviation: variance.sqrt(), subset_size: size, subsets: distances })
}

/// Unbiased squared discrepancy of two subsets of m rows.
fn discrepancy(a: &Tensor, b: &Tensor) -> Result<f64> {
    let rows = a.size2()?.0 as f64;
    let within = (off_diagonal(a)? + off_diagonal(b)?) / (rows * (rows - 1.0));
    let between = matrix::sum(&kernel(a, b)?)? / (rows * rows);
    Ok(within - 2.0 * between)
}

/// Kernel values of all pairs of rows.
fn kernel(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let width = a.size2()?.1 as f64;
    let base = a.f_mm(&b.f_tr()?)?.f_div_scalar(width)?.f_add_scalar(1.0)?;
    Ok(base.f_square()?.f_mul(&base)?)
}

/// Sum of the kernel over all pairs of different rows.
fn off_diagonal(set: &Tensor) -> Result<f64> {
    let rows = set.size2()?.0;
    let (mut total, mut start) = (0.0, 0);
    while start < rows {
        let length = STRIP.min(rows - start);
        let strip = kernel(&set.f_narrow(0, start, length)?, &set.f_narrow(0, 0, start + length)?)?;
        let square = strip.f_narrow(1, start, length)?;
        let diagonal = square.f_diagonal(0, 0, 1)?.f_sum(Kind::Double)?.f_double_value(&[])?;
        if start > 0 {
            total += 2.0 * matrix::sum(&strip.f_narrow(1, 0, start)?)?;
        }
        total += matrix::sum(&square)? - diagonal;
        start += length;
    }
    Ok(total)
}
