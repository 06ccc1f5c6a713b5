//! Inception Score: the exponential of the mean divergence of a picture's classes from those of its set.
//!
//! Salimans and others, "Improved techniques for training GANs" (2016). Both conventions in use take logits
//! **without** the bias of the last layer:
//!
//! - [`torch_fidelity`]: rows shuffled by `RandomState(2020)`, ten splits, mean and population deviation.
//! - [`adm`]: blocks of 5000 in the order of the file, the last one as it is; the mean alone.
//!
//! Softmax and logarithms are `f64`, so that a probability that is 0 in `f32` (ADM then gives no number) counts.

use ndarray::{ArrayView1, ArrayView2};
use rayon::prelude::*;
use serde::Serialize;

use super::matrix;
use super::numpy_random::RandomState;
use crate::error::{Error, Result};

/// Splits of torch-fidelity.
pub const SPLITS: usize = 10;
/// Seed of torch-fidelity's shuffle.
pub const SEED: u32 = 2020;
/// Rows of a block of ADM's evaluator.
pub const ADM_BLOCK: usize = 5000;

/// A score with those of its parts.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct InceptionScore {
    /// Mean over the parts; from 1 to the number of classes.
    pub mean: f64,
    /// Population standard deviation over the parts.
    pub deviation: f64,
    /// The score of each part.
    pub parts: Vec<f64>,
}

/// torch-fidelity's score of `logits` `[N, C]`, with its default shuffle and splits.
///
/// # Errors
/// As [`splits`].
pub fn torch_fidelity(logits: ArrayView2<'_, f32>) -> Result<InceptionScore> {
    splits(logits, &RandomState::new(SEED).permutation(logits.nrows()), SPLITS)
}

/// Score of the rows of `logits` `[N, C]` in the given order, split i having the rows from ⌊iN/splits⌋ to
/// ⌊(i + 1)N/splits⌋.
///
/// # Errors
/// When there are fewer rows than splits, a number is not finite, or `order` names a row that is not there.
pub fn splits(logits: ArrayView2<'_, f32>, order: &[usize], splits: usize) -> Result<InceptionScore> {
    let rows = order.len();
    if splits == 0 || rows < splits {
        return Err(Error::measure(format!(
            "an Inception Score of {rows} pictures in {splits} splits: give more pictures"
        )));
    }
    parts(
        logits,
        (0..splits).map(|i| order.get(i * rows / splits..(i + 1) * rows / splits).unwrap_or_default()),
    )
}

/// ADM's score of `logits` `[N, C]`.
///
/// # Errors
/// When there is no row, or a number is not finite.
pub fn adm(logits: ArrayView2<'_, f32>) -> Result<InceptionScore> {
    let order: Vec<usize> = (0..logits.nrows()).collect();
    parts(logits, order.chunks(ADM_BLOCK))
}

fn parts<'a>(
    logits: ArrayView2<'_, f32>,
    parts: impl Iterator<Item = &'a [usize]>,
) -> Result<InceptionScore> {
    matrix::check("logits", logits)?;
    let parts = parts.map(|rows| score(logits, rows)).collect::<Result<Vec<f64>>>()?;
    let count = parts.len() as f64;
    let mean = parts.iter().sum::<f64>() / count;
    let variance = parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / count;
    Ok(InceptionScore { mean, deviation: variance.sqrt(), parts })
}

/// exp(mean over rows of Σ p log p, less Σ q log q of the mean q).
fn score(logits: ArrayView2<'_, f32>, rows: &[usize]) -> Result<f64> {
    if rows.iter().any(|&row| row >= logits.nrows()) {
        return Err(Error::measure("the order of the rows names one that is not there"));
    }
    // Chunks of a fixed size, summed in order: the answer does not depend on the number of threads.
    let sums: Vec<(f64, Vec<f64>)> = rows
        .par_chunks(64)
        .map(|rows| {
            let mut total = vec![0.0; logits.ncols()];
            let negative_entropy = rows.iter().map(|&row| add_softmax(logits.row(row), &mut total)).sum();
            (negative_entropy, total)
        })
        .collect();
    let mut negative_entropy = 0.0;
    let mut total = vec![0.0; logits.ncols()];
    for (part, probabilities) in sums {
        negative_entropy += part;
        total.iter_mut().zip(probabilities).for_each(|(sum, p)| *sum += p);
    }
    let count = rows.len() as f64;
    let of_mean: f64 = total.iter().map(|p| p / count).filter(|&q| q > 0.0).map(|q| q * q.ln()).sum();
    Ok((negative_entropy / count - of_mean).exp())
}

/// Adds the softmax of `logits` to `total`; gives Σ p log p.
fn add_softmax(logits: ArrayView1<'_, f32>, total: &mut [f64]) -> f64 {
    let largest = logits.iter().fold(f64::NEG_INFINITY, |most, &x| most.max(f64::from(x)));
    let normaliser = logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum::<f64>().ln();
    let mut negative_entropy = 0.0;
    for (sum, &x) in total.iter_mut().zip(logits) {
        let logarithm = f64::from(x) - largest - normaliser;
        let probability = logarithm.exp();
        *sum += probability;
        negative_entropy += probability * logarithm;
    }
    negative_entropy
}
