//! Inception Score (Salimans and others 2016): exp of the mean Kullback-Leibler divergence of the class
//! probabilities of an image from those of all images of its split.
//!
//! Two conventions are in use. torch-fidelity (`metric_isc.py`) shuffles the rows by numpy's generator under
//! seed 2020, cuts them into 10 splits and reports mean and deviation. The evaluator of ADM (`evaluator.py`) takes
//! blocks of 5000 rows in file order and reports the mean. Both take logits without the bias of the
//! last layer. This module computes in `f64`; ADM's `f32` gives NaN for probabilities that round to 0.

use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::Serialize;

use super::matrix;
use super::numpy_random::RandomState;
use crate::error::{Error, Result};

/// Splits of torch-fidelity.
pub const SPLITS: usize = 10;
/// Seed of torch-fidelity's shuffle.
pub const SHUFFLE_SEED: u32 = 2020;
/// Rows of ADM's blocks.
pub const ADM_BLOCK: usize = 5000;
/// Rows of a partial sum. Fixed, so that the result does not depend on the number of threads.
const ROWS: usize = 256;

/// A score, and the scores that it is the mean of.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct InceptionScore {
    /// Mean over the splits, from 1 to the number of classes.
    pub mean: f64,
    /// Standard deviation over the splits (not divided by the root of their number).
    pub deviation: f64,
    /// The score of each split.
    pub splits: Vec<f64>,
}

/// The order of the rows for the splits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// The order of the rows.
    Given,
    /// The default of torch-fidelity: shuffled by numpy's `RandomState(2020)`.
    Shuffled,
    /// These rows, in this order.
    Rows(Vec<usize>),
}

/// The score of `logits` `[N, C]` in `splits` splits: split i has rows ⌊iN/splits⌋ to ⌊(i+1)N/splits⌋.
///
/// # Errors
/// When there are fewer rows than splits, a logit is not finite, or a row of [`Order::Rows`] does not exist.
pub fn inception_score(logits: ArrayView2<'_, f32>, splits: usize, order: &Order) -> Result<InceptionScore> {
    matrix::check("logits", logits)?;
    let count = logits.nrows();
    let rows: Vec<usize> = match order {
        Order::Given => (0..count).collect(),
        Order::Shuffled => RandomState::new(SHUFFLE_SEED).permutation(count),
        Order::Rows(rows) => rows.clone(),
    };
    let total = rows.len();
    if splits == 0 || total < splits {
        return Err(Error::measure(format!(
            "Inception Score: {splits} splits need at least {splits} images, got {total}"
        )));
    }
    let bounds = (0..splits).map(|i| i * total / splits..(i + 1) * total / splits);
    summary(bounds.map(|range| split(logits, rows.get(range).unwrap_or_default())).collect::<Result<_>>()?)
}

/// The score of `logits` `[N, C]` as ADM's evaluator computes it: in blocks of 5000 rows. The last block may be shorter and
/// counts like the others. The tool reports only the mean.
///
/// # Errors
/// When there are no rows, or a logit is not finite.
pub fn adm(logits: ArrayView2<'_, f32>) -> Result<InceptionScore> {
    matrix::check("logits", logits)?;
    let rows: Vec<usize> = (0..logits.nrows()).collect();
    summary(rows.chunks(ADM_BLOCK).map(|block| split(logits, block)).collect::<Result<_>>()?)
}

fn summary(splits: Vec<f64>) -> Result<InceptionScore> {
    let count = splits.len().max(1) as f64;
    let mean = splits.iter().sum::<f64>() / count;
    let deviation = (splits.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt();
    Ok(InceptionScore { mean, deviation, splits })
}

/// exp(mean of Σ p log p − Σ q log q), where q is the mean of p over `rows`.
fn split(logits: ArrayView2<'_, f32>, rows: &[usize]) -> Result<f64> {
    let classes = logits.ncols();
    let partial = |rows: &[usize]| {
        let mut sums = vec![0.0; classes];
        let mut own = 0.0;
        for &row in rows.iter().filter(|&&row| row < logits.nrows()) {
            let row = logits.row(row);
            let largest = row.iter().fold(f32::NEG_INFINITY, |most, &x| most.max(x));
            let apart = |x: f32| f64::from(x) - f64::from(largest);
            let log_sum = row.iter().map(|&x| apart(x).exp()).sum::<f64>().ln();
            for (sum, &x) in sums.iter_mut().zip(row) {
                let log = apart(x) - log_sum;
                let p = log.exp();
                *sum += p;
                own += p * log;
            }
        }
        (sums, own)
    };
    if let Some(row) = rows.iter().find(|&&row| row >= logits.nrows()) {
        return Err(Error::measure(format!(
            "logits: row {row} does not exist; there are {} rows",
            logits.nrows()
        )));
    }
    let parts: Vec<(Vec<f64>, f64)> = rows.par_chunks(ROWS).map(partial).collect();
    let (mut sums, mut own) = (vec![0.0; classes], 0.0);
    for (part, of_part) in parts {
        sums.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
        own += of_part;
    }
    let count = rows.len().max(1) as f64;
    // x log x is 0 for x = 0.
    let all: f64 = sums.iter().map(|sum| sum / count).filter(|&q| q > 0.0).map(|q| q * q.ln()).sum();
    Ok((own / count - all).exp())
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    #[test]
    fn certain_and_even_classes_score_their_number_and_uncertain_ones_score_one() {
        let certain = Array2::from_shape_fn((1000, 10), |(i, j)| if i % 10 == j { 100.0 } else { 0.0 });
        let score = inception_score(certain.view(), 10, &Order::Given).unwrap();
        assert!((score.mean - 10.0).abs() < 1e-9 && score.deviation < 1e-9, "{score:?}");
        let uncertain = Array2::zeros((100, 10));
        assert!((adm(uncertain.view()).unwrap().mean - 1.0).abs() < 1e-12);
    }

    #[test]
    fn too_few_rows_and_rows_that_are_not_there_are_errors() {
        let logits = Array2::zeros((9, 3));
        let message = |order| inception_score(logits.view(), 10, &order).unwrap_err().to_string();
        assert!(message(Order::Given).contains("10 splits need at least 10 images, got 9"));
        assert!(message(Order::Rows((0..10).collect())).contains("row 9 does not exist; there are 9 rows"));
        assert!(adm(Array2::zeros((0, 3)).view()).is_err());
        assert!(adm(Array2::from_elem((5, 3), f32::NAN).view()).unwrap_err().to_string().contains("row 0"));
    }
}
