//! Intervals by profile likelihood: all values of a coefficient for which the best fit of the others leaves a sum of squares
//! that the F distribution allows.
//!
//! The points are one mean per size. The seeds of a size share the error of this size, and so do the validations of a run. If
//! they counted as independent points, the interval would be too narrow. An end outside of the range of a fit is `None`.

use super::power::{Centred, Curve, Mode, golden_section};
use crate::statistics::f_quantile;
use crate::statistics::{EXPONENTS, line};

/// Steps of the scans over `α`.
const SCAN: usize = 100;

/// The ends of an interval; `None` if it is open.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ends {
    /// Lower end.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
}

impl Ends {
    const OPEN: Self = Self { low: None, high: None };

    /// Whether both ends exist.
    pub(crate) fn closed(&self) -> bool {
        self.low.is_some() && self.high.is_some()
    }

    /// Whether `value` is inside. An open side contains all values.
    pub fn contains(&self, value: f64) -> bool {
        self.low.is_none_or(|low| low <= value) && self.high.is_none_or(|high| value <= high)
    }
}

/// Intervals of the coefficients of one fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Intervals {
    /// Interval of the exponent.
    pub alpha: Ends,
    /// Interval of the logarithm of `β`.
    pub ln_beta: Ends,
    /// Interval of the irreducible part; without width if it is given.
    pub irreducible: Ends,
}

/// Intervals of `level` (for example 0.95) for `curve`, which is the fit to `points` in `mode`. `points` has one mean per size.
/// Without a degree of freedom, all intervals are open.
pub fn intervals(points: &[(f64, f64)], curve: &Curve, mode: Mode, level: f64) -> Intervals {
    match mode {
        Mode::Given(c) => given(points, c, level),
        Mode::Fitted => fitted(points, curve, level),
    }
}

/// Smallest sum of squares of `values`, because of their rounding in 64 bits.
fn rounding(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| (8.0 * f64::EPSILON * v).powi(2)).sum()
}

/// A line in log-log: Student's interval of its slope, and Fieller's interval of its zero.
fn given(points: &[(f64, f64)], c: f64, level: f64) -> Intervals {
    let irreducible = Ends { low: Some(c), high: Some(c) };
    let n = points.len();
    let Some(freedom) = n.checked_sub(2).filter(|f| *f > 0) else {
        return Intervals { alpha: Ends::OPEN, ln_beta: Ends::OPEN, irreducible };
    };
    let middle = points.iter().map(|p| p.0.ln()).sum::<f64>() / n as f64;
    let logs = points.iter().map(|&(x, y)| (x.ln() - middle, (y - c).ln()));
    let (slope, height) = line(logs.clone());
    let squares: f64 = logs.clone().map(|(x, z)| (z - height - slope * x).powi(2)).sum();
    let spread: f64 = logs.clone().map(|(x, _)| x * x).sum();
    let squares = squares.max(rounding(logs.map(|l| l.1)));
    let allowed = f_quantile(level, freedom) * squares / freedom as f64;
    let half = (allowed / spread).sqrt();
    let in_range = |alpha: f64| (EXPONENTS.0..=EXPONENTS.1).contains(&-alpha).then_some(alpha);
    let alpha = Ends { low: in_range(slope - half), high: in_range(slope + half) };
    // (height − slope · r)² ≤ allowed · (1/n + r²/spread), r = ln β + middle.
    let (a, b) = (slope * slope - allowed / spread, slope * height);
    let root = (b * b - a * (height * height - allowed / n as f64)).max(0.0).sqrt();
    let ln_beta = if a > 0.0 {
        Ends { low: Some((b - root) / a - middle), high: Some((b + root) / a - middle) }
    } else {
        Ends::OPEN
    };
    Intervals { alpha, ln_beta, irreducible }
}

/// The allowed ranges of the two linear coefficients at one exponent.
struct Slice {
    irreducible: (f64, f64),
    factor: (f64, f64),
}

impl Centred {
    /// The allowed ranges at `exponent`. `None` if no values are allowed: the sum of squares is too large, or the irreducible
    /// part would be below 0 or above the data.
    fn slice(&self, exponent: f64, limit: f64) -> Option<Slice> {
        let n = self.points.len() as f64;
        let powers: Vec<(f64, f64)> = self.points.iter().map(|&(x, y)| ((-exponent * x).exp(), y)).collect();
        let (factor, irreducible) = line(powers.iter().copied());
        let mean = powers.iter().map(|p| p.0).sum::<f64>() / n;
        let spread: f64 = powers.iter().map(|p| (p.0 - mean).powi(2)).sum();
        let squares: f64 = powers.iter().map(|(u, y)| (y - irreducible - factor * u).powi(2)).sum();
        let slack = limit - squares;
        let (e, a) = ((slack * (1.0 / n + mean * mean / spread)).sqrt(), (slack / spread).sqrt());
        let slice =
            Slice { irreducible: (irreducible - e, irreducible + e), factor: (factor - a, factor + a) };
        let possible = slack >= 0.0 && slice.irreducible.1 >= 0.0 && slice.irreducible.0 <= self.ceiling;
        possible.then_some(slice)
    }
}

fn fitted(points: &[(f64, f64)], curve: &Curve, level: f64) -> Intervals {
    let open = Intervals { alpha: Ends::OPEN, ln_beta: Ends::OPEN, irreducible: Ends::OPEN };
    let Some(freedom) = points.len().checked_sub(3).filter(|f| *f > 0) else { return open };
    let centred = Centred::new(points);
    let least: f64 = points.iter().map(|&(x, y)| (y - curve.at(x)).powi(2)).sum();
    let least = least.max(rounding(points.iter().map(|p| p.1)));
    let limit = least * (1.0 + f_quantile(level, freedom) / freedom as f64);
    let at = |t: f64| centred.slice(t.exp(), limit);
    let best = (-curve.alpha).ln();
    let edge = |end: f64| end_of(best, end, |t| at(t).is_some());
    let (near, far) = (edge(EXPONENTS.0.ln()), edge(EXPONENTS.1.ln()));
    let alpha = Ends { low: far.map(|t| -t.exp()), high: near.map(|t| -t.exp()) };
    let (from, to) = (near.unwrap_or(EXPONENTS.0.ln()), far.unwrap_or(EXPONENTS.1.ln()));
    // The other coefficients, over all allowed exponents.
    let highest = |value: &dyn Fn(f64, &Slice) -> f64| {
        highest(from, to, best, |t| at(t).map_or(f64::NEG_INFINITY, |slice| value(t, &slice)))
    };
    let low = -highest(&|_, s| -s.irreducible.0);
    let high = highest(&|_, s| s.irreducible.1);
    let irreducible =
        Ends { low: (low > 0.0).then_some(low), high: (high < centred.ceiling).then_some(high) };
    let crossing = |t: f64, factor: f64| -factor.max(0.0).ln() / t.exp() - centred.middle;
    let ln_beta = Ends {
        low: Some(-highest(&|t, s| -crossing(t, s.factor.1))),
        high: Some(highest(&|t, s| crossing(t, s.factor.0))),
    };
    let finite = |end: Option<f64>| end.filter(|v| v.is_finite() && alpha.closed());
    Intervals { alpha, ln_beta: Ends { low: finite(ln_beta.low), high: finite(ln_beta.high) }, irreducible }
}

/// Where `allowed` ends between `best`, where it is true, and `end`. `None` if it is true at `end`.
fn end_of(best: f64, end: f64, allowed: impl Fn(f64) -> bool) -> Option<f64> {
    let step = (best - end) / SCAN as f64;
    let (mut outside, mut inside) = (end, best);
    if allowed(end) {
        return None;
    }
    for i in 1..SCAN {
        let t = end + step * i as f64;
        if allowed(t) {
            inside = t;
            break;
        }
        outside = t;
    }
    for _ in 0..60 {
        let middle = (outside + inside) / 2.0;
        if allowed(middle) { inside = middle } else { outside = middle }
    }
    Some(inside)
}

/// Largest value of `f` between `from` and `to`. `best` is one of the first tries.
fn highest(from: f64, to: f64, best: f64, f: impl Fn(f64) -> f64) -> f64 {
    let step = (to - from) / SCAN as f64;
    let (mut top, mut value) = (best, f(best));
    for t in (0..=SCAN).map(|i| from + step * i as f64) {
        let found = f(t);
        if found > value {
            (top, value) = (t, found);
        }
    }
    let refined = golden_section(|t| -f(t), (top - step).max(from), (top + step).min(to));
    f(refined).max(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fit::means::SCATTERED;
    use crate::fit::power;

    fn near(found: Option<f64>, expected: f64, width: f64) {
        let found = found.unwrap();
        assert!((found - expected).abs() < 0.002 * width, "{found} is not {expected}");
    }

    #[test]
    fn the_profile_of_size_means_equals_an_independent_implementation() {
        let means: Vec<(f64, f64)> =
            SCATTERED.iter().map(|(x, ys)| (*x, ys.iter().sum::<f64>() / ys.len() as f64)).collect();
        let curve = power::fit(&means, Mode::Fitted).unwrap().curve;
        let found = intervals(&means, &curve, Mode::Fitted, 0.95);
        near(found.alpha.high, -0.471_238_861, 0.026);
        near(found.alpha.low, -0.497_201_032, 0.026);
        near(found.irreducible.low, 2.856_454_661, 0.067);
        near(found.irreducible.high, 2.923_666_679, 0.067);
        assert!(found.ln_beta.closed() && found.ln_beta.contains(curve.ln_beta));
        // With a given irreducible part, the fit is a line in log-log, with Student's interval.
        let c = 2.9;
        let curve = power::fit(&means, Mode::Given(c)).unwrap().curve;
        let line = intervals(&means, &curve, Mode::Given(c), 0.95);
        let (low, high) = (line.alpha.low.unwrap(), line.alpha.high.unwrap());
        assert!((low + high - 2.0 * curve.alpha).abs() < 1e-9, "about the slope");
        assert!(line.ln_beta.contains(curve.ln_beta) && line.ln_beta.closed());
    }

    #[test]
    fn an_end_that_does_not_exist_is_none() {
        // Four sizes and three coefficients with some scatter: one degree of freedom.
        let points = [(1.0, 4.16), (4.7, 4.046), (13.6, 4.017), (23.5, 3.972), (66.7, 3.912)];
        let curve = power::fit(&points, Mode::Fitted).unwrap().curve;
        let found = intervals(&points, &curve, Mode::Fitted, 0.95);
        assert!(found.irreducible.low.is_none() && found.alpha.contains(curve.alpha), "{found:?}");
        let none = intervals(&points[..3], &curve, Mode::Fitted, 0.95);
        assert_eq!((none.alpha, none.irreducible), (Ends::OPEN, Ends::OPEN));
    }

    #[test]
    fn exact_points_have_intervals_without_width() {
        let curve = Curve { alpha: -0.4, ln_beta: 1.0, irreducible: 2.0 };
        let points: Vec<(f64, f64)> = (1..8).map(|i| f64::from(i * i)).map(|x| (x, curve.at(x))).collect();
        for mode in [Mode::Fitted, Mode::Given(2.0)] {
            let curve = power::fit(&points, mode).unwrap().curve;
            let found = intervals(&points, &curve, mode, 0.95).alpha;
            assert!(found.high.unwrap() - found.low.unwrap() < 1e-5, "{mode:?} {found:?}");
            assert!(found.contains(curve.alpha));
        }
    }
}
