//! Percentile intervals by resampling images (Efron, "Bootstrap methods", 1979; Efron and Tibshirani, "An
//! introduction to the bootstrap", 1993, chapter 13).
//!
//! Each draw takes N of N rows with replacement and computes the number again. The interval lies between two percentiles of
//! these numbers. The rows of a draw depend only on the seed and the number of the draw. The interval shows how much the
//! result depends on the choice of images. It does not include bias.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use var_tokenizer::random::Stream;

use crate::error::{Error, Result};

/// Number of draws for two digits of an interval.
pub const DRAWS: usize = 1000;
/// Usual share of draws inside the interval.
pub const LEVEL: f64 = 0.95;
/// Maximum number of draws; their results are kept in memory.
pub const MOST_DRAWS: usize = 10_000_000;

/// Minimum number of rows per thread: with fewer, sharing the work costs more than it saves.
const SHARE: usize = 4096;

/// An interval, and how it was made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// Share of draws inside, between 0 and 1.
    pub level: f64,
    /// Number of draws.
    pub draws: usize,
}

impl Interval {
    /// The interval, shifted up by `by`.
    pub(crate) fn moved(self, by: f64) -> Self {
        Self { low: self.low + by, high: self.high + by, ..self }
    }
}

/// The number of draws and the level of an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Number of draws, at least 1.
    pub draws: usize,
    /// Share of draws inside the interval, between 0 and 1.
    pub level: f64,
    /// Seed of the random rows.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { draws: DRAWS, level: LEVEL, seed: 0 }
    }
}

impl Bootstrap {
    /// The interval of the mean of `values` `[N]`, one per image.
    ///
    /// # Errors
    /// When there is no value or one that is not finite, or `draws` or `level` is out of range.
    ///
    /// ```
    /// use var_eval::metrics::bootstrap::Bootstrap;
    ///
    /// let hits: Vec<f64> = (0..100).map(|i| f64::from(i % 4 == 0)).collect();
    /// let interval = Bootstrap::default().mean(&hits)?;
    /// assert!(interval.low < 0.25 && 0.25 < interval.high);
    /// # Ok::<(), var_eval::Error>(())
    /// ```
    pub fn mean(&self, values: &[f64]) -> Result<Interval> {
        if let Some(row) = values.iter().position(|x| !x.is_finite()) {
            return Err(Error::measure(format!("value {row} is not finite: {}", values[row])));
        }
        self.of(values.len(), |rows| {
            Ok(rows.iter().filter_map(|&row| values.get(row)).sum::<f64>() / values.len() as f64)
        })
    }

    /// The interval of `figure` over `count` rows. `figure` gets the rows of a draw, some of which repeat. Draws run one
    /// after another, because `figure` may use all cores.
    ///
    /// # Errors
    /// When `count` is 0, `draws` or `level` is out of range, or `figure` fails or is not finite.
    pub fn of(&self, count: usize, mut figure: impl FnMut(&[usize]) -> Result<f64>) -> Result<Interval> {
        self.check(count)?;
        let mut figures = Vec::with_capacity(self.draws);
        for draw in 0..self.draws as u64 {
            let found = figure(&self.rows(draw, count))?;
            if !found.is_finite() {
                return Err(Error::measure(format!(
                    "draw {draw} of a bootstrap gives {found}; the number must be finite for repeated images"
                )));
            }
            figures.push(found);
        }
        Ok(self.interval(figures))
    }

    /// The `count` rows of draw number `draw`.
    pub fn rows(&self, draw: u64, count: usize) -> Vec<usize> {
        let stream = Stream::new("var-eval/bootstrap", self.seed).at(draw);
        let row = |i: usize| stream.below(i as u64, count as u64) as usize;
        (0..count).into_par_iter().with_min_len(SHARE).map(row).collect()
    }

    fn check(&self, count: usize) -> Result<()> {
        if count == 0 {
            return Err(Error::measure("a bootstrap of no images; give at least one"));
        }
        let possible = (1..=MOST_DRAWS).contains(&self.draws) && self.level > 0.0 && self.level < 1.0;
        if !possible {
            return Err(Error::measure(format!(
                "a bootstrap of {} draws at level {}: expected 1 to {MOST_DRAWS} draws, and a level between 0 and 1",
                self.draws, self.level
            )));
        }
        Ok(())
    }

    fn interval(&self, mut figures: Vec<f64>) -> Interval {
        figures.sort_by(f64::total_cmp);
        let outside = 0.5 * (1.0 - self.level);
        let [low, high] = [outside, 1.0 - outside].map(|share| percentile(&figures, share));
        Interval { low, high, level: self.level, draws: self.draws }
    }
}

/// The value at `share` of the way through `sorted`, linear between neighbours (numpy's default).
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = share * sorted.len().saturating_sub(1) as f64;
    let value = |index: f64| sorted.get(index as usize).or(sorted.last()).copied().unwrap_or(f64::NAN);
    let (below, above) = (value(at.floor()), value(at.ceil()));
    below + (above - below) * at.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_numpy() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (share, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)] {
            assert!((percentile(&sorted, share) - expected).abs() < 1e-12);
        }
    }

    #[test]
    fn draws_depend_on_seed_draw_and_image_only_however_many_threads_draw() {
        let bootstrap = Bootstrap { draws: 20, level: 0.9, seed: 3 };
        let count = 3 * SHARE + 7;
        let drawn = |draw: u64| -> Vec<usize> {
            let stream = Stream::new("var-eval/bootstrap", 3).at(draw);
            (0..count as u64).map(|i| stream.below(i, count as u64) as usize).collect()
        };
        assert_eq!(bootstrap.rows(5, count), drawn(5));
        let values: Vec<f64> = (0..count).map(|i| (i * i % 17) as f64).collect();
        let mean = |draw| drawn(draw).into_iter().map(|row| values[row]).sum::<f64>() / count as f64;
        let expected = bootstrap.interval((0..20).map(mean).collect());
        assert_eq!(bootstrap.mean(&values).unwrap(), expected);
        let other = Bootstrap { seed: 4, ..bootstrap };
        assert_ne!(other.mean(&values).unwrap(), expected);
    }

    #[test]
    fn the_interval_of_a_mean_is_as_wide_as_its_standard_error_says() {
        let values: Vec<f64> = (0..4000).map(|i| f64::from(i % 5 == 0)).collect();
        let found = Bootstrap::default().mean(&values).unwrap();
        let error = (0.2 * 0.8 / 4000.0_f64).sqrt();
        assert!((found.low - (0.2 - 1.96 * error)).abs() < 0.2 * error, "{found:?}");
        assert!((found.high - (0.2 + 1.96 * error)).abs() < 0.2 * error, "{found:?}");
    }

    #[test]
    fn what_cannot_be_resampled_is_an_error() {
        let good = Bootstrap::default();
        assert!(good.mean(&[]).is_err());
        assert!(good.mean(&[1.0, f64::NAN]).is_err());
        assert!(good.of(3, |_| Ok(f64::INFINITY)).is_err());
        assert!(good.of(3, |_| Err(Error::measure("no"))).is_err());
        for (draws, level) in [(0, 0.9), (MOST_DRAWS + 1, 0.9), (10, 0.0), (10, 1.0), (10, f64::NAN)] {
            assert!(Bootstrap { draws, level, seed: 0 }.mean(&[1.0]).is_err());
        }
    }
}
