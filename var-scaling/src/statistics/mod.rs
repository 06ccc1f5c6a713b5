//! What fits share: straight lines, Fisher's distribution, lower envelopes, and the bounds of exponents.

mod distribution;
mod line;

pub(crate) use distribution::{f_quantile, f_tail};
pub(crate) use line::{line, pearson};

/// Least and greatest exponent of a falling power.
pub(crate) const EXPONENTS: (f64, f64) = (1e-3, 5.0);

/// Fewest different sizes for an exponent.
pub(crate) const LEAST_SIZES: usize = 4;

/// The points whose second `key` is lower than that of all points with less or an equal first one, by rising first key. Points
/// that are not finite, or without compute, are left out.
pub(crate) fn lowest<T>(points: &[T], key: impl Fn(&T) -> (f64, f64)) -> Vec<&T> {
    let usable = |p: &&T| {
        let (cost, value) = key(p);
        cost.is_finite() && cost > 0.0 && value.is_finite()
    };
    let mut sorted: Vec<&T> = points.iter().filter(usable).collect();
    sorted.sort_by(|a, b| {
        let (a, b) = (key(a), key(b));
        a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
    });
    let mut best = f64::INFINITY;
    sorted.retain(|p| {
        let value = key(p).1;
        let better = value < best;
        best = best.min(value);
        better
    });
    sorted
}
