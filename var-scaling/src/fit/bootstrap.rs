//! Intervals by residual bootstrap.
//!
//! The residuals of a fit, centred and inflated for the coefficients that they paid for, are drawn anew
//! and put onto the fitted values; the fit of each such set is one draw of the coefficients. Percentiles
//! of few points are too narrow, so the interval is stretched about the estimate by Student's quantile
//! over the normal one. Draws are counter-based: the same data and seed give the same interval.

use serde::{Deserialize, Serialize};
use var_tokenizer::random::Stream;

use super::power::{self, Bound, Curve, Mode};

/// A coefficient's interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Whether `value` lies inside, ends included.
    pub fn contains(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// Settings of the bootstrap.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bootstrap {
    /// Sets drawn.
    pub draws: usize,
    /// Share that the interval is to cover, e.g. 0.95.
    pub level: f64,
    /// Seed.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { draws: 1000, level: 0.95, seed: 0 }
    }
}

/// Intervals of the coefficients of one fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intervals {
    /// Of the exponent.
    pub alpha: Interval,
    /// Of the logarithm of `β`.
    pub ln_beta: Interval,
    /// Of the irreducible part; a point when it was given.
    pub irreducible: Interval,
    /// Share of the draws that ended at a bound.
    pub at_bound: f64,
}

/// Intervals for `curve`, fitted to `points` in `mode`. `independent` is the number of points that may be
/// taken as independent: the points of one training run are not, so a frontier counts its sizes.
pub fn intervals(
    points: &[(f64, f64)],
    curve: &Curve,
    mode: Mode,
    independent: usize,
    settings: &Bootstrap,
    name: &str,
) -> Intervals {
    let coefficients = if mode == Mode::Fitted { 3 } else { 2 };
    let n = points.len();
    // Log-log errors for a given irreducible part, additive ones for a fitted one: as they were fitted.
    let residual = |&(x, y): &(f64, f64)| match mode {
        Mode::Given(c) => ((y - c) / curve.reducible(x)).ln(),
        Mode::Fitted => y - curve.at(x),
    };
    let mut residuals: Vec<f64> = points.iter().map(residual).collect();
    let mean = residuals.iter().sum::<f64>() / n.max(1) as f64;
    let inflation = (n as f64 / n.saturating_sub(coefficients).max(1) as f64).sqrt();
    residuals.iter_mut().for_each(|r| *r = (*r - mean) * inflation);
    let stream = Stream::new(&format!("bootstrap.{name}"), settings.seed);
    let mut draws: Vec<Curve> = Vec::with_capacity(settings.draws);
    let mut at_bound = 0;
    for draw in 0..settings.draws as u64 {
        let words = stream.at(draw);
        let resampled: Vec<(f64, f64)> = points
            .iter()
            .enumerate()
            .map(|(i, &(x, _))| {
                let pick = words.below(i as u64, n as u64) as usize;
                let r = residuals.get(pick).copied().unwrap_or(0.0);
                let y = match mode {
                    Mode::Given(c) => c + curve.reducible(x) * r.exp(),
                    Mode::Fitted => curve.at(x) + r,
                };
                (x, y)
            })
            .collect();
        let Some(found) = power::fit(&resampled, mode) else {
            at_bound += 1;
            continue;
        };
        at_bound += usize::from(found.bound.is_some());
        draws.push(match found.bound {
            // Nothing falls: as flat as can be.
            Some(Bound::NotFalling) => Curve { alpha: 0.0, ..*curve },
            _ => found.curve,
        });
    }
    let freedom = independent.saturating_sub(coefficients).max(1);
    let tail = (1.0 - settings.level) / 2.0;
    let stretch = student_quantile(1.0 - tail, freedom) / normal_quantile(1.0 - tail);
    let interval = |value: fn(&Curve) -> f64, least: f64, most: f64| {
        let estimate = value(curve);
        let mut values: Vec<f64> = draws.iter().map(value).filter(|v| v.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let stretched = |q: f64| estimate + stretch * (quantile(&values, q).unwrap_or(estimate) - estimate);
        Interval {
            low: stretched(tail).min(estimate).max(least),
            high: stretched(1.0 - tail).max(estimate).min(most),
        }
    };
    let smallest = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
    Intervals {
        alpha: interval(|c| c.alpha, f64::NEG_INFINITY, 0.0),
        ln_beta: interval(|c| c.ln_beta, f64::NEG_INFINITY, f64::INFINITY),
        irreducible: match mode {
            Mode::Given(c) => Interval { low: c, high: c },
            Mode::Fitted => interval(|c| c.irreducible, 0.0, smallest),
        },
        at_bound: at_bound as f64 / settings.draws.max(1) as f64,
    }
}

/// Quantile of sorted values, linear between neighbours.
fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let place = q.clamp(0.0, 1.0) * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (sorted.get(place.floor() as usize)?, sorted.get(place.ceil() as usize)?);
    Some(low + (high - low) * place.fract())
}

/// Quantile of the standard normal distribution, by bisection on the complementary error function's
/// integral.
fn normal_quantile(p: f64) -> f64 {
    bisect(p, |x| 0.5 + integrate(x, |t| (-t * t / 2.0).exp()) / std::f64::consts::TAU.sqrt())
}

/// Quantile of Student's distribution with `freedom` degrees of freedom.
fn student_quantile(p: f64, freedom: usize) -> f64 {
    let v = freedom as f64;
    // Density up to its constant; the substitution t = √v·tan θ has the integral of cos^(v−1) θ.
    let whole = integrate(std::f64::consts::FRAC_PI_2, |a| a.cos().powf(v - 1.0));
    bisect(p, |x| 0.5 + 0.5 * integrate((x / v.sqrt()).atan(), |a| a.cos().powf(v - 1.0)) / whole)
}

fn bisect(p: f64, cumulative: impl Fn(f64) -> f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while cumulative(high) < p && high < 1e6 {
        high *= 2.0;
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if cumulative(middle) < p { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// Simpson's rule from 0 to `x`.
fn integrate(x: f64, f: impl Fn(f64) -> f64) -> f64 {
    let steps = 400;
    let h = x / f64::from(steps);
    let inner: f64 = (1..steps).map(|i| f(h * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    (f(0.0) + inner + f(x)) * h / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_equal_the_tables() {
        assert!((normal_quantile(0.975) - 1.959_964).abs() < 1e-5);
        for (freedom, expected) in
            [(1, 12.7062), (2, 4.302_65), (3, 3.182_45), (10, 2.228_14), (100, 1.983_97)]
        {
            let found = student_quantile(0.975, freedom);
            assert!((found / expected - 1.0).abs() < 1e-4, "{freedom}: {found}");
        }
    }

    #[test]
    fn exact_points_have_intervals_without_width() {
        let curve = Curve { alpha: -0.4, ln_beta: 1.0, irreducible: 2.0 };
        let points: Vec<(f64, f64)> = (1..8).map(|i| f64::from(i * i)).map(|x| (x, curve.at(x))).collect();
        let found = intervals(&points, &curve, Mode::Fitted, 7, &Bootstrap::default(), "x");
        assert!(found.alpha.high - found.alpha.low < 1e-5, "{found:?}");
        assert_eq!(found.at_bound, 0.0);
    }

    #[test]
    fn the_same_seed_gives_the_same_interval_and_another_another() {
        let points = [(1.0, 5.0), (3.0, 4.2), (9.0, 3.9), (27.0, 3.55), (81.0, 3.5)];
        let curve = power::fit(&points, Mode::Given(3.0)).unwrap().curve;
        let at = |seed| {
            let settings = Bootstrap { seed, ..Bootstrap::default() };
            intervals(&points, &curve, Mode::Given(3.0), 5, &settings, "x").alpha
        };
        assert_eq!(at(1), at(1));
        assert_ne!(at(1), at(2));
        assert!(at(1).contains(curve.alpha));
    }
}
