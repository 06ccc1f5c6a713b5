//! One mean per size, and the test whether sizes scatter around a law more than their seeds.

use super::point::Point;
use super::power::{self, Mode};
use crate::statistics::f_tail;

/// The start of a note about sizes that are worse than smaller ones.
pub const NOT_MONOTONE: &str = "not monotone: ";

/// The points of a law by size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SizeMeans {
    /// Name, geometric mean of `x`, and the values of its runs, by rising `x`.
    sizes: Vec<(String, f64, Vec<f64>)>,
}

/// An F test of a law against the spread between seeds.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct LackOfFit {
    /// The statistic.
    pub f: f64,
    /// Probability of this statistic or a larger one, if the law holds.
    pub p: f64,
}

impl SizeMeans {
    /// Groups points by the name of their size.
    pub(crate) fn new(points: &[Point]) -> Self {
        let mut sizes: Vec<(String, f64, Vec<f64>)> = Vec::new();
        for p in points {
            match sizes.iter_mut().find(|s| s.0 == p.size) {
                Some((_, x, ys)) => {
                    *x += p.x.ln();
                    ys.push(p.y);
                }
                None => sizes.push((p.size.clone(), p.x.ln(), vec![p.y])),
            }
        }
        for (_, x, ys) in &mut sizes {
            *x = (*x / ys.len() as f64).exp();
        }
        sizes.sort_by(|a, b| a.1.total_cmp(&b.1));
        Self { sizes }
    }

    /// Number of different `x`: to a fit, sizes with equal parameters are one.
    pub(crate) fn different(&self) -> usize {
        let mut xs: Vec<f64> = self.sizes.iter().map(|s| s.1).collect();
        xs.dedup_by(|a, b| (*a / *b - 1.0).abs() < 1e-12);
        xs.len()
    }

    /// The means for a fit in `mode`: of the values, or of the logarithms of the values minus the given part.
    pub(crate) fn means(&self, mode: Mode) -> Vec<(f64, f64)> {
        self.sizes
            .iter()
            .map(|(_, x, ys)| {
                let n = ys.len() as f64;
                let mean = match mode {
                    Mode::Fitted => ys.iter().sum::<f64>() / n,
                    Mode::Given(c) if ys.iter().all(|y| *y > c) => {
                        c + (ys.iter().map(|y| (y - c).ln()).sum::<f64>() / n).exp()
                    }
                    // The given part is not below all values: the fit refuses it.
                    Mode::Given(c) => ys.iter().copied().fold(c, f64::min),
                };
                (*x, mean)
            })
            .collect()
    }

    /// Whether all means are equal within the rounding of a loss in 32 bits.
    pub(crate) fn equal_within_rounding(&self) -> bool {
        let means = self.means(Mode::Fitted);
        let (low, high) =
            means.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| (l.min(p.1), h.max(p.1)));
        high - low <= 1e-6 * high.abs()
    }

    /// Names the sizes whose mean is above that of the next smaller size.
    pub(crate) fn not_monotone(&self) -> Option<String> {
        let means = self.means(Mode::Fitted);
        let pairs = self.sizes.windows(2).zip(means.windows(2));
        let worse: Vec<String> = pairs
            .filter_map(|(names, means)| match (names, means) {
                ([a, b], [small, large]) if large.1 > small.1 => {
                    Some(format!("{} is worse than the smaller {}", b.0, a.0))
                }
                _ => None,
            })
            .collect();
        (!worse.is_empty()).then(|| format!("{NOT_MONOTONE}{}", worse.join(", ")))
    }

    /// Pooled standard deviation between runs of one size; `None` if each size has one run.
    pub(crate) fn seed_deviation(&self) -> Option<f64> {
        let (squares, freedom) = self.within(|y| y);
        (freedom > 0).then(|| (squares / freedom as f64).sqrt())
    }

    /// Sum of squares of `value` within the sizes, and its degrees of freedom.
    fn within(&self, value: impl Fn(f64) -> f64) -> (f64, usize) {
        self.sizes.iter().fold((0.0, 0), |(squares, freedom), (_, _, ys)| {
            let mean = ys.iter().map(|y| value(*y)).sum::<f64>() / ys.len() as f64;
            let own: f64 = ys.iter().map(|y| (value(*y) - mean).powi(2)).sum();
            (squares + own, freedom + ys.len() - 1)
        })
    }

    /// Tests the law that fits all runs best against their spread within the sizes. `None` if no size has several runs that
    /// differ, or there is no such law.
    pub(crate) fn lack_of_fit(&self, mode: Mode) -> Option<LackOfFit> {
        let rows: Vec<(f64, f64)> =
            self.sizes.iter().flat_map(|(_, x, ys)| ys.iter().map(move |y| (*x, *y))).collect();
        let curve = power::fit(&rows, mode).filter(|f| f.bound.is_none())?.curve;
        let value = |y: f64| match mode {
            Mode::Given(c) => (y - c).ln(),
            Mode::Fitted => y,
        };
        let (pure, second) = self.within(value);
        let coefficients = if mode == Mode::Fitted { 3 } else { 2 };
        let first = self.sizes.len().checked_sub(coefficients).filter(|f| *f > 0)?;
        // Runs that are equal in all digits of a 32-bit loss are copies. They do not show the spread.
        let rounding: f64 = rows.iter().map(|r| (1e-6 * value(r.1)).powi(2)).sum();
        if second == 0 || pure <= rounding {
            return None;
        }
        let all: f64 = rows.iter().map(|&(x, y)| (value(y) - value(curve.at(x))).powi(2)).sum();
        let f = ((all - pure).max(0.0) / first as f64) / (pure / second as f64);
        Some(LackOfFit { f, p: f_tail(f, first, second) })
    }
}

/// Sizes with a scatter of 0.01, with seeds that differ by 0.0025.
#[cfg(test)]
pub(super) const SCATTERED: [(f64, &[f64]); 9] = [
    (40_000.0, &[6.713_083, 6.710_874, 6.711_032]),
    (86_982.0, &[5.512_379, 5.519_154, 5.516_651]),
    (189_148.0, &[4.715_938]),
    (411_314.0, &[4.111_106, 4.109_828, 4.111_399]),
    (894_427.0, &[3.736_682, 3.730_926, 3.736_4]),
    (1_944_985.0, &[3.465_033, 3.468_833, 3.465_043]),
    (4_229_485.0, &[3.295_368, 3.299_206]),
    (9_197_266.0, &[3.170_556, 3.168_171]),
    (20_000_000.0, &[3.078_805, 3.083_299]),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn points(sizes: &[(f64, &[f64])]) -> Vec<Point> {
        let rows = sizes.iter().enumerate();
        rows.flat_map(|(i, (x, ys))| {
            ys.iter().map(move |y| Point { run: String::new(), size: format!("s{i}"), x: *x, y: *y })
        })
        .collect()
    }

    #[test]
    fn sizes_that_scatter_more_than_their_seeds_are_a_lack_of_fit() {
        let means = SizeMeans::new(&points(&SCATTERED));
        let found = means.lack_of_fit(Mode::Fitted).unwrap();
        assert!((found.f / 42.922_297_5 - 1.0).abs() < 1e-4, "{found:?}");
        assert!((found.p / 7.901e-8 - 1.0).abs() < 0.01, "{found:?}");
        assert!((means.seed_deviation().unwrap() - 0.002_463_142).abs() < 1e-7);
    }

    #[test]
    fn one_seed_per_size_and_copies_of_it_have_no_test() {
        let law = |x: f64| 2.0 + 3.0 * x.powf(-0.4);
        let once: Vec<[f64; 1]> = (1..7).map(|i| [law(4_f64.powi(i))]).collect();
        let twice: Vec<[f64; 2]> = once.iter().map(|y| [y[0], y[0]]).collect();
        let xs = |i: usize| 4_f64.powi(i as i32 + 1);
        let once: Vec<(f64, &[f64])> = once.iter().enumerate().map(|(i, y)| (xs(i), &y[..])).collect();
        let twice: Vec<(f64, &[f64])> = twice.iter().enumerate().map(|(i, y)| (xs(i), &y[..])).collect();
        assert_eq!(SizeMeans::new(&points(&once)).lack_of_fit(Mode::Fitted), None);
        assert_eq!(SizeMeans::new(&points(&twice)).lack_of_fit(Mode::Fitted), None);
    }
}
