//! Fisher's F distribution: tails and quantiles.

use std::f64::consts::FRAC_PI_2;

/// Number of steps of an integral.
const STEPS: u32 = 500;

/// Probability of a value above `f` with `first` and `second` degrees of freedom (1 or more).
pub(crate) fn f_tail(f: f64, first: usize, second: usize) -> f64 {
    let (a, b) = (first.clamp(1, 1 << 20) as i32, second.clamp(1, 1 << 20) as i32);
    // The regularised incomplete beta function. With t = sin², its integrand has integer powers.
    let density = |angle: f64| angle.sin().powi(a - 1) * angle.cos().powi(b - 1);
    let from = (f64::from(a) * f.max(0.0) / f64::from(b)).sqrt().atan();
    let whole = integrate(0.0, FRAC_PI_2, density);
    if whole > 0.0 { (integrate(from, FRAC_PI_2, density) / whole).clamp(0.0, 1.0) } else { f64::NAN }
}

/// The quantile at `level` with 1 and `freedom` degrees of freedom: the square of Student's quantile.
pub(crate) fn f_quantile(level: f64, freedom: usize) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    while f_tail(high, 1, freedom) > 1.0 - level && high < 1e12 {
        high *= 2.0;
    }
    for _ in 0..45 {
        let middle = (low + high) / 2.0;
        if f_tail(middle, 1, freedom) > 1.0 - level { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// Simpson's rule.
fn integrate(from: f64, to: f64, f: impl Fn(f64) -> f64) -> f64 {
    let h = (to - from) / f64::from(STEPS);
    let inner: f64 =
        (1..STEPS).map(|i| f(from + h * f64::from(i)) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    (f(from) + inner + f(to)) * h / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_tails_equal_the_tables() {
        // Squares of Student's 0.975 quantiles.
        for (freedom, t) in [(1, 12.7062), (2, 4.302_65), (3, 3.182_45), (10, 2.228_14), (100, 1.983_97)] {
            let found = f_quantile(0.95, freedom).sqrt();
            assert!((found / t - 1.0).abs() < 1e-4, "{freedom}: {found}");
        }
        // 95 % points of F.
        for (f, first, second) in [(3.708, 3, 10), (2.915, 6, 13), (4.103, 2, 10), (2.866, 4, 20)] {
            let tail = f_tail(f, first, second);
            assert!((tail - 0.05).abs() < 2e-4, "{first} {second}: {tail}");
        }
        assert!((f_tail(0.0, 4, 5) - 1.0).abs() < 1e-12 && f_tail(f64::INFINITY, 4, 5) < 1e-12);
    }
}
