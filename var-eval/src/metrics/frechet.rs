//! Fréchet distance between two Gaussians (FID, when the features are Inception's).
//!
//! `|μ₁ − μ₂|² + tr Σ₁ + tr Σ₂ − 2 tr (Σ₁ Σ₂)^½` (Dowson and Landau 1982; Heusel and others 2017), in `f64`
//! throughout. The published tools compute the root of the product, which is not symmetric: pytorch-fid and ADM by
//! `scipy.linalg.sqrtm`, torch-fidelity by its eigenvalues. This module solves only symmetric problems:
//!
//! - [`Route::Cholesky`]: with Σ₁ = L Lᵀ the trace is the sum of the roots of the eigenvalues of Lᵀ Σ₂ L.
//! - [`Route::Roots`]: with Σ = R Rᵀ from the eigenvectors of each, it is the sum of the singular values of
//!   R₁ᵀ R₂. Eigenvalues below D · 2.2e-16 of the largest count as 0.
//! - [`Route::Samples`]: the same from centred features; R is their transpose, divided by the root of N − 1.
//!
//! The first is the fastest, but it takes the root of the rounding error of each eigenvalue. Near 0, an error of 1e-16 becomes
//! 1e-8. It is used if the possible error is below 1e-10 of tr Σ₁ + tr Σ₂; otherwise the second one is. On singular
//! covariances (N ≤ D, repeated or constant features), the published tools differ from the true value by up to 1e-8 of that
//! sum, mostly downwards. This module does not.

use ndarray::{ArrayView2, Axis};
use serde::Serialize;
use tch::{Kind, Tensor};

use super::matrix;
use crate::error::{Error, Result};
use crate::statistics::Gaussian;

/// Allowed error of the Cholesky route, relative to the sum of both traces.
const ALLOWED: f64 = 1e-10;
/// Relative rounding error of the product's eigenvalues: a few units in the last place.
const ROUNDING: f64 = 4.0 * f64::EPSILON;

/// A distance, and how it was computed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FrechetDistance {
    /// The distance (a squared length in feature space); at least 0. A negative number can only come from
    /// rounding, and becomes 0.
    pub distance: f64,
    /// The part of the means: `|μ₁ − μ₂|²`.
    pub mean_term: f64,
    /// tr Σ₁ + tr Σ₂; rounding errors are relative to it.
    pub trace_sum: f64,
    /// How the trace of the root was computed.
    pub route: Route,
    /// Ranks of both covariances, reference first, if [`Route::Roots`] was used. A rank below the number of features means
    /// singular, within rounding.
    pub ranks: Option<[usize; 2]>,
}

/// How the trace of the root was computed; see the [module](self).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// Eigenvalues of Lᵀ Σ₂ L.
    Cholesky,
    /// Singular values of the product of both roots.
    Roots,
    /// Singular values of the product of the centred features.
    Samples,
}

/// The distance between two Gaussians of the same width. It is symmetric, and 0 for equal ones, within rounding (1e-10 of
/// the sum of both traces).
///
/// # Errors
/// When the widths differ, or libtorch fails.
///
/// ```
/// use ndarray::array;
/// use var_eval::metrics::frechet;
/// use var_eval::statistics::Gaussian;
///
/// let a = Gaussian::new(array![0.0, 0.0], array![[1.0, 0.0], [0.0, 4.0]], None)?;
/// let b = Gaussian::new(array![3.0, 0.0], array![[4.0, 0.0], [0.0, 1.0]], None)?;
/// // 3² for the means, (1 − 2)² + (2 − 1)² for the deviations.
/// assert!((frechet::distance(&a, &b)?.distance - 11.0).abs() < 1e-12);
/// # Ok::<(), var_eval::Error>(())
/// ```
pub fn distance(reference: &Gaussian, samples: &Gaussian) -> Result<FrechetDistance> {
    matrix::same_width(reference.width(), samples.width())?;
    let apart = &reference.mean - &samples.mean;
    let mean_term = apart.dot(&apart);
    let trace_sum = reference.covariance.diag().sum() + samples.covariance.diag().sum();
    let (a, b) = (matrix::tensor(reference.covariance.view())?, matrix::tensor(samples.covariance.view())?);
    if let Some(root) = by_cholesky(&a, &b, trace_sum)? {
        return finish(mean_term, trace_sum, root, Route::Cholesky, None);
    }
    let (a, b) = (root(&a)?, root(&b)?);
    let ranks = [a.size2()?.1 as usize, b.size2()?.1 as usize];
    let trace = singular_values(&a.f_tr()?.f_mm(&b)?)?;
    finish(mean_term, trace_sum, trace, Route::Roots, Some(ranks))
}

/// The distance between the Gaussians of two sets of features `[N, D]` and `[M, D]`, from an N × M matrix instead of their
/// covariances. It suits few images with many features, and is the most precise way.
///
/// # Errors
/// When a set has fewer than two rows or a number that is not finite, the widths differ, or libtorch fails.
pub fn distance_of_samples(
    reference: ArrayView2<'_, f32>,
    samples: ArrayView2<'_, f32>,
) -> Result<FrechetDistance> {
    matrix::same_width(reference.ncols(), samples.ncols())?;
    let mut centred = Vec::new();
    let mut means = Vec::new();
    let mut trace_sum = 0.0;
    for (side, features) in [("reference", reference), ("samples", samples)] {
        matrix::check(side, features)?;
        let rows = features.nrows();
        if rows < 2 {
            return Err(Error::measure(format!(
                "{side}: a covariance needs at least two images, got {rows}"
            )));
        }
        let mut x = features.mapv(f64::from);
        let Some(mean) = x.mean_axis(Axis(0)) else { continue };
        x -= &mean;
        x /= ((rows - 1) as f64).sqrt();
        trace_sum += x.iter().map(|x| x * x).sum::<f64>();
        centred.push(matrix::tensor(x.view())?);
        means.push(mean);
    }
    let ([a, b], [mean_a, mean_b]) = (centred.as_slice(), means.as_slice()) else {
        return Err(Error::measure("expected two sets of features"));
    };
    let apart = mean_a - mean_b;
    let trace = singular_values(&a.f_mm(&b.f_tr()?)?)?;
    finish(apart.dot(&apart), trace_sum, trace, Route::Samples, None)
}

fn finish(
    mean_term: f64,
    trace_sum: f64,
    root: f64,
    route: Route,
    ranks: Option<[usize; 2]>,
) -> Result<FrechetDistance> {
    let distance = mean_term + trace_sum - 2.0 * root;
    if !distance.is_finite() {
        return Err(Error::measure("the Fréchet distance overflows; the features are too large"));
    }
    Ok(FrechetDistance { distance: distance.max(0.0), mean_term, trace_sum, route, ranks })
}

/// The trace of the root; `None` if rounding could change it by more than is allowed.
fn by_cholesky(a: &Tensor, b: &Tensor, trace_sum: f64) -> Result<Option<f64>> {
    let (factor, failed) = a.f_linalg_cholesky_ex(false, false)?;
    if failed.f_int64_value(&[])? != 0 {
        return Ok(None);
    }
    let product = factor.f_tr()?.f_mm(&b.f_mm(&factor)?)?;
    // The solver reads the lower half; the halves differ by rounding.
    let values = matrix::cells::<f64>(&product.f_linalg_eigvalsh("L")?)?;
    Ok(sum_of_roots(&values, norm(a)? * norm(b)?, trace_sum))
}

/// The sum of the roots of the eigenvalues of a product whose factors have the norms that multiply to `size`; `None` if
/// rounding could change it by more than is allowed of `trace_sum`.
pub(super) fn sum_of_roots(values: &[f64], size: f64, trace_sum: f64) -> Option<f64> {
    let noise = ROUNDING * size;
    // Errors of well-separated eigenvalues have random signs; those of eigenvalues below the noise have the same sign.
    let (mut squares, mut drowned, mut root) = (0.0, 0.0, 0.0);
    for &value in values {
        if value > 16.0 * noise {
            squares += 0.25 / value;
        } else {
            drowned += value.max(noise).sqrt();
        }
        root += value.max(0.0).sqrt();
    }
    let error = 2.0 * (noise * squares.sqrt() + drowned);
    (error <= ALLOWED * trace_sum).then_some(root)
}

/// R `[D, rank]` with R Rᵀ = `covariance`: its Cholesky factor, or from its eigenvectors if it is singular.
pub(super) fn factor(covariance: &Tensor) -> Result<Tensor> {
    let (factor, failed) = covariance.f_linalg_cholesky_ex(false, false)?;
    if failed.f_int64_value(&[])? == 0 { Ok(factor) } else { root(covariance) }
}

/// Root of the sum of squares.
fn norm(matrix: &Tensor) -> Result<f64> {
    Ok(matrix::sum(&matrix.f_square()?)?.sqrt())
}

/// R `[D, rank]` with R Rᵀ = `covariance`, without eigenvalues that are 0 within rounding.
fn root(covariance: &Tensor) -> Result<Tensor> {
    let (values, vectors) = covariance.f_linalg_eigh("L")?;
    let listed = matrix::cells::<f64>(&values)?;
    let width = listed.len();
    let largest = listed.last().copied().unwrap_or(0.0).max(0.0);
    // Ascending: those that count as 0 come first.
    let zeros = listed.iter().filter(|&&value| value <= largest * width as f64 * 2.2e-16).count();
    let (start, rank) = (zeros as i64, (width - zeros) as i64);
    let scale = values.f_narrow(0, start, rank)?.f_sqrt()?;
    Ok(vectors.f_narrow(1, start, rank)?.f_mul(&scale)?)
}

/// Sum of the singular values of a matrix, which may be empty.
pub(super) fn singular_values(product: &Tensor) -> Result<f64> {
    if product.numel() == 0 {
        return Ok(0.0);
    }
    let (_, values, _) = product.f_svd(true, false)?;
    Ok(values.f_sum(Kind::Double)?.f_double_value(&[])?)
}
