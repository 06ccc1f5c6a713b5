//! Share of pictures whose label is among a classifier's first guesses.

use ndarray::ArrayView2;
use serde::Serialize;

use super::matrix;
use crate::error::{Error, Result};

/// Shares of `count` pictures, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Accuracy {
    /// The label is the first guess.
    pub top1: f64,
    /// The label is among the first five.
    pub top5: f64,
    /// Pictures.
    pub count: usize,
}

/// Accuracy of `logits` `[N, C]` against `labels` `[N]`. Of equal logits the class with the lower number is
/// guessed first.
///
/// # Errors
/// When there is not one label for each row, a label is no class, or a number is not finite.
pub fn accuracy(logits: ArrayView2<'_, f32>, labels: &[usize]) -> Result<Accuracy> {
    matrix::check("logits", logits)?;
    let (count, classes) = logits.dim();
    if labels.len() != count {
        return Err(Error::measure(format!("{} labels for {count} pictures", labels.len())));
    }
    let (mut first, mut five) = (0_usize, 0_usize);
    for (row, &label) in logits.rows().into_iter().zip(labels) {
        let own = *row.get(label).ok_or_else(|| {
            Error::measure(format!("label {label}, but the network knows {classes} classes"))
        })?;
        let before = row.iter().enumerate().filter(|&(class, &x)| x > own || (x == own && class < label));
        let rank = before.count();
        first += usize::from(rank < 1);
        five += usize::from(rank < 5);
    }
    let share = |hits: usize| hits as f64 / count as f64;
    Ok(Accuracy { top1: share(first), top5: share(five), count })
}
