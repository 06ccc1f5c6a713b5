//! One power law through points: `y = c + (β·x)^α`, `α < 0`.
//!
//! If `c` is given, the logarithms of `x` and `y − c` are on a line. Least squares find it, as in the paper. If `c` is fitted,
//! the model is linear in `c` and in the factor for each `α` (variable projection). A scan over `α` computes both in closed
//! form; golden sections refine it. This assumes additive errors. A fit of all three to the logarithms would prefer a small
//! `c`, because a small `c` makes all residuals smaller.

use crate::statistics::{EXPONENTS, line};

/// Steps of the scan over `α`.
const SCAN: usize = 160;

/// A power law with its irreducible part.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Curve {
    /// Exponent, below 0.
    pub alpha: f64,
    /// Natural logarithm of `β`; `β` itself can be too large for a number.
    pub ln_beta: f64,
    /// The irreducible part `c`.
    pub irreducible: f64,
}

impl Curve {
    /// `c + (β·x)^α`.
    pub fn at(&self, x: f64) -> f64 {
        self.irreducible + self.reducible(x)
    }

    /// `(β·x)^α`.
    pub(crate) fn reducible(&self, x: f64) -> f64 {
        (self.alpha * (self.ln_beta + x.ln())).exp()
    }
}

/// The bound at which a fit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The fitted irreducible part is zero.
    IrreducibleAtZero,
    /// The irreducible part reaches the smallest value, or a given one is not below it.
    IrreducibleAtData,
    /// The exponent is nearly 0: a logarithm fits as well.
    ExponentAtZero,
    /// The exponent is at the other end of its range: the values fall in one step.
    ExponentAtLimit,
    /// The values do not fall.
    NotFalling,
}

/// The result of a fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Power {
    /// The best curve; not usable if there is a bound.
    pub curve: Curve,
    /// The bound at which the fit ended, if any.
    pub bound: Option<Bound>,
}

/// Whether the irreducible part is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// It is this value.
    Given(f64),
    /// It is fitted with the rest.
    Fitted,
}

impl Mode {
    /// The given value.
    pub fn given(self) -> Option<f64> {
        match self {
            Self::Given(value) => Some(value),
            Self::Fitted => None,
        }
    }
}

/// Fits `y = c + (β·x)^α` to points with positive `x`. `None` if there are fewer different `x` than coefficients, or a number
/// is not finite and positive.
pub fn fit(points: &[(f64, f64)], mode: Mode) -> Option<Power> {
    let mut different: Vec<f64> = points.iter().map(|p| p.0).collect();
    different.sort_by(f64::total_cmp);
    different.dedup();
    let needed = if mode == Mode::Fitted { 3 } else { 2 };
    let finite = points.iter().all(|&(x, y)| x.is_finite() && x > 0.0 && y.is_finite() && y > 0.0);
    if different.len() < needed || !finite {
        return None;
    }
    match mode {
        Mode::Given(c) => Some(given(points, c)),
        Mode::Fitted => Some(fitted(points)),
    }
}

fn given(points: &[(f64, f64)], c: f64) -> Power {
    if points.iter().any(|p| p.1 <= c) {
        let curve = Curve { alpha: f64::NAN, ln_beta: f64::NAN, irreducible: c };
        return Power { curve, bound: Some(Bound::IrreducibleAtData) };
    }
    let (alpha, intercept) = line(points.iter().map(|&(x, y)| (x.ln(), (y - c).ln())));
    let curve = Curve { alpha, ln_beta: intercept / alpha, irreducible: c };
    // There is no scan, so any exponent below 0 is valid.
    Power { curve, bound: (alpha.is_nan() || alpha >= 0.0).then_some(Bound::NotFalling) }
}

fn bound_of_exponent(alpha: f64) -> Option<Bound> {
    if -alpha <= EXPONENTS.0 * 1.001 {
        Some(Bound::ExponentAtZero)
    } else if -alpha >= EXPONENTS.1 * 0.999 {
        Some(Bound::ExponentAtLimit)
    } else {
        None
    }
}

/// The best linear coefficients for one exponent.
#[derive(Clone, Copy)]
struct Projection {
    squares: f64,
    factor: f64,
    irreducible: f64,
    bound: Option<Bound>,
}

/// Points with the logarithm of `x` minus its mean, so that powers stay near 1.
pub(super) struct Centred {
    /// Centred logarithm of `x`, and `y`.
    pub(super) points: Vec<(f64, f64)>,
    /// The mean of the logarithms.
    pub(super) middle: f64,
    /// Largest irreducible part, slightly below the smallest value.
    pub(super) ceiling: f64,
}

impl Centred {
    pub(super) fn new(points: &[(f64, f64)]) -> Self {
        let middle = points.iter().map(|p| p.0.ln()).sum::<f64>() / points.len() as f64;
        let (low, high) =
            points.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), p| (l.min(p.1), h.max(p.1)));
        Self {
            points: points.iter().map(|&(x, y)| (x.ln() - middle, y)).collect(),
            middle,
            ceiling: low - 1e-7 * (high - low),
        }
    }

    fn project(&self, exponent: f64) -> Projection {
        let powers = self.points.iter().map(|&(x, y)| ((-exponent * x).exp(), y));
        let (mut factor, mut irreducible) = line(powers.clone());
        let mut bound = None;
        let fixed = |c: f64| {
            let (uy, uu) = powers.clone().fold((0.0, 0.0), |(a, b), (u, y)| (a + u * (y - c), b + u * u));
            uy / uu
        };
        if irreducible <= 0.0 {
            (irreducible, bound) = (0.0, Some(Bound::IrreducibleAtZero));
            factor = fixed(irreducible);
        } else if irreducible >= self.ceiling {
            (irreducible, bound) = (self.ceiling, Some(Bound::IrreducibleAtData));
            factor = fixed(irreducible);
        }
        let squares = powers.map(|(u, y)| (y - irreducible - factor * u).powi(2)).sum();
        Projection { squares, factor, irreducible, bound }
    }
}

fn fitted(points: &[(f64, f64)]) -> Power {
    let centred = Centred::new(points);
    let (slope, _) = line(centred.points.iter().copied());
    if slope >= 0.0 {
        let curve = Curve { alpha: f64::NAN, ln_beta: f64::NAN, irreducible: f64::NAN };
        return Power { curve, bound: Some(Bound::NotFalling) };
    }
    let (low, high) = (EXPONENTS.0.ln(), EXPONENTS.1.ln());
    let step = (high - low) / SCAN as f64;
    let value = |t: f64| centred.project(t.exp()).squares;
    let best = (0..=SCAN)
        .map(|i| low + step * i as f64)
        .min_by(|a, b| value(*a).total_cmp(&value(*b)))
        .unwrap_or(low);
    let t = golden_section(value, (best - step).max(low), (best + step).min(high));
    let exponent = t.exp();
    let found = centred.project(exponent);
    let alpha = -exponent;
    let bound = found
        .bound
        .or_else(|| bound_of_exponent(alpha))
        .or((found.factor <= 0.0).then_some(Bound::NotFalling));
    // factor · (x / g)^α = (β·x)^α, where g is the geometric mean of x.
    let ln_beta = found.factor.max(f64::MIN_POSITIVE).ln() / alpha - centred.middle;
    Power { curve: Curve { alpha, ln_beta, irreducible: found.irreducible }, bound }
}

/// The minimum between `low` and `high` of a function that has one minimum.
pub(super) fn golden_section(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let ratio = (5_f64.sqrt() - 1.0) / 2.0;
    let (mut a, mut b) = (high - ratio * (high - low), low + ratio * (high - low));
    let (mut fa, mut fb) = (f(a), f(b));
    for _ in 0..80 {
        if fa <= fb {
            (high, b, fb) = (b, a, fa);
            a = high - ratio * (high - low);
            fa = f(a);
        } else {
            (low, a, fa) = (a, b, fb);
            b = low + ratio * (high - low);
            fb = f(b);
        }
    }
    (low + high) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(alpha: f64, beta: f64, c: f64, n: usize) -> Vec<(f64, f64)> {
        let curve = Curve { alpha, ln_beta: beta.ln(), irreducible: c };
        (0..n).map(|i| 1e-4 * 3_f64.powi(i as i32)).map(|x| (x, curve.at(x))).collect()
    }

    #[test]
    fn exact_points_give_all_three_coefficients() {
        for (alpha, beta, c) in [(-0.23, 2.0, 4.5), (-0.07, 300.0, 1.2), (-0.9, 40.0, 0.3), (-2.0, 9e3, 5.0)]
        {
            let found = fit(&points(alpha, beta, c, 6), Mode::Fitted).unwrap();
            assert_eq!(found.bound, None, "{alpha}");
            assert!((found.curve.alpha - alpha).abs() < 1e-6, "{alpha}: {:?}", found.curve);
            assert!((found.curve.irreducible - c).abs() < 1e-5, "{c}: {:?}", found.curve);
            let given = fit(&points(alpha, beta, c, 6), Mode::Given(c)).unwrap();
            assert!((given.curve.alpha - alpha).abs() < 1e-6);
            assert!((given.curve.ln_beta - beta.ln()).abs() < 1e-5);
        }
    }

    #[test]
    fn a_pure_power_law_ends_at_a_zero_irreducible_part() {
        let mut data = points(-0.3, 5.0, 0.0, 6);
        // A lower last value: a negative asymptote would fit best.
        data[5].1 *= 0.9;
        assert_eq!(fit(&data, Mode::Fitted).unwrap().bound, Some(Bound::IrreducibleAtZero));
    }

    #[test]
    fn values_that_stop_falling_at_once_end_at_the_data() {
        let data = [(1.0, 5.0), (2.0, 4.0), (4.0, 4.0), (8.0, 4.0), (16.0, 4.0)];
        let bound = fit(&data, Mode::Fitted).unwrap().bound;
        assert!(matches!(bound, Some(Bound::ExponentAtLimit | Bound::IrreducibleAtData)), "{bound:?}");
    }

    #[test]
    fn a_straight_line_in_the_logarithm_has_no_exponent() {
        let data: Vec<(f64, f64)> =
            (0..6).map(|i| (10_f64.powi(i), 5.0 - 0.3 * f64::from(i) - 0.02 * f64::from(i * i))).collect();
        let bound = fit(&data, Mode::Fitted).unwrap().bound;
        assert!(matches!(bound, Some(Bound::ExponentAtZero | Bound::IrreducibleAtZero)), "{bound:?}");
    }

    #[test]
    fn rising_values_and_a_given_part_above_the_data_have_a_bound() {
        let rising = [(1.0, 4.0), (2.0, 4.1), (4.0, 4.3), (8.0, 4.2)];
        for mode in [Mode::Fitted, Mode::Given(1.0)] {
            assert_eq!(fit(&rising, mode).unwrap().bound, Some(Bound::NotFalling));
        }
        assert_eq!(fit(&rising, Mode::Given(4.05)).unwrap().bound, Some(Bound::IrreducibleAtData));
    }

    #[test]
    fn too_few_or_unusable_points_give_nothing() {
        assert!(fit(&[(1.0, 2.0), (2.0, 1.5)], Mode::Fitted).is_none());
        assert!(fit(&[(1.0, 2.0), (1.0, 1.5)], Mode::Given(0.0)).is_none());
        assert!(fit(&[(1.0, 2.0), (2.0, f64::NAN), (3.0, 1.0)], Mode::Given(0.0)).is_none());
        assert!(fit(&[(0.0, 2.0), (2.0, 1.5), (3.0, 1.0)], Mode::Fitted).is_none());
    }
}
