//! The minimum from one start: damped steps between bounds, then Newton's method.

use super::model::{A, ALPHA, B, BETA, E, MOST, Point, RSTAR};
use super::problem::{Curvature, Problem};
use crate::statistics::EXPONENTS;

/// Most steps.
const STEPS: usize = 400;

/// A step that promises less than this share of the sum ends the way to a minimum, and begins Newton's method.
const NEAR: f64 = 1e-2;

/// Lower and upper bounds of the coefficients.
pub(super) fn bounds(problem: &Problem<'_>) -> [(f64, f64); MOST] {
    let least = problem.rows.iter().map(|r| r.loss).fold(f64::INFINITY, f64::min);
    let mut all = [(f64::NEG_INFINITY, f64::INFINITY); MOST];
    all[E] = match problem.given {
        Some(e) => (e, e),
        // The value of the law somewhere, which may be above the losses.
        None if problem.model.anchor.is_some() => (0.0, f64::INFINITY),
        None => (0.0, least * (1.0 - 1e-12)),
    };
    all[ALPHA] = EXPONENTS;
    all[BETA] = EXPONENTS;
    // A power below e^−60 of a loss is none.
    all[A].0 = -60.0;
    all[B].0 = -60.0;
    all[RSTAR] = (1e-3_f64.ln(), 1e6_f64.ln());
    all
}

/// The minimum from `start`; coefficients with `fixed` stay. Gives the coefficients and the sum. Far from a minimum the
/// curvature is taken as positive, because that of Huber's sum is nearly none there. Newton's method is the end.
pub(super) fn minimise(problem: &Problem<'_>, start: &Point, fixed: &[bool; MOST]) -> (Point, f64) {
    let near = descend(problem, start, fixed, Curvature::Positive, NEAR);
    descend(problem, &near.0, fixed, Curvature::Exact, 1e-17)
}

/// Goes down from `start` until a step promises less than `least` of the sum.
fn descend(
    problem: &Problem<'_>,
    start: &Point,
    fixed: &[bool; MOST],
    curvature: Curvature,
    least: f64,
) -> (Point, f64) {
    let (bounds, n) = (bounds(problem), problem.model.form.count());
    let hold = |p: &mut Point| {
        for i in 0..n {
            if !fixed[i] {
                p[i] = p[i].clamp(bounds[i].0, bounds[i].1);
            }
        }
    };
    let mut p = *start;
    hold(&mut p);
    let mut jet = problem.expand(&p, curvature);
    let mut damping = 1e-3;
    for _ in 0..STEPS {
        // At a bound with a slope that leads out, a coefficient waits.
        let free: Vec<usize> = (0..n)
            .filter(|&i| {
                let (low, high) = bounds[i];
                let out = (p[i] <= low && jet.gradient[i] > 0.0) || (p[i] >= high && jet.gradient[i] < 0.0);
                !fixed[i] && low < high && !out
            })
            .collect();
        if free.is_empty() {
            break;
        }
        let mut moved = false;
        let mut expected = 0.0;
        while damping < 1e15 {
            let Some(step) = solve(&jet.hessian, &jet.gradient, &free, damping) else {
                damping = (damping * 10.0).max(1e-9);
                continue;
            };
            let mut next = p;
            for (&i, s) in free.iter().zip(&step) {
                next[i] -= s;
            }
            hold(&mut next);
            expected = free.iter().zip(&step).map(|(&i, s)| jet.gradient[i] * s).sum::<f64>();
            let found = problem.expand(&next, curvature);
            if found.value < jet.value {
                (p, jet, moved) = (next, found, true);
                damping = if damping < 1e-12 { 0.0 } else { damping / 10.0 };
                break;
            }
            if expected.abs() <= 1e-15 * jet.value {
                break;
            }
            damping = (damping * 10.0).max(1e-9);
        }
        if !moved || expected.abs() <= least * jet.value || jet.value < 1e-30 {
            break;
        }
    }
    (p, jet.value)
}

/// `(H + damping·|diag H|)⁻¹ g` over `free`; `None` if the matrix is not positive.
fn solve(h: &[Point; MOST], g: &Point, free: &[usize], damping: f64) -> Option<Vec<f64>> {
    let n = free.len();
    let scale: Vec<f64> = free.iter().map(|&i| h[i][i].abs().max(1e-300).sqrt()).collect();
    let mut m = vec![vec![0.0; n]; n];
    for (a, &i) in free.iter().enumerate() {
        for (b, &j) in free.iter().enumerate() {
            m[a][b] = h[i][j] / scale[a] / scale[b];
        }
        m[a][a] += damping;
    }
    let right: Vec<f64> = free.iter().zip(&scale).map(|(&i, s)| g[i] / s).collect();
    let factor = cholesky(&m)?;
    let x = substitute(&factor, &right);
    Some(x.iter().zip(&scale).map(|(x, s)| x / s).collect())
}

/// Lower factor of a positive matrix with a diagonal of about 1: row `i` has `i + 1` numbers.
pub(super) fn cholesky(matrix: &[Vec<f64>]) -> Option<Vec<Vec<f64>>> {
    let mut factor: Vec<Vec<f64>> = Vec::new();
    for (i, row) in matrix.iter().enumerate() {
        let mut new: Vec<f64> = Vec::with_capacity(i + 1);
        for (j, earlier) in factor.iter().enumerate() {
            let sum: f64 = new.iter().zip(earlier).map(|(a, b)| a * b).sum();
            new.push((row[j] - sum) / earlier[j]);
        }
        let rest = row[i] - new.iter().map(|v| v * v).sum::<f64>();
        // Less than rounding is nothing.
        if rest.is_nan() || rest <= 1e-15 {
            return None;
        }
        new.push(rest.sqrt());
        factor.push(new);
    }
    Some(factor)
}

/// Solves with the factor.
pub(super) fn substitute(factor: &[Vec<f64>], right: &[f64]) -> Vec<f64> {
    let n = right.len();
    let mut x = right.to_vec();
    for i in 0..n {
        for k in 0..i {
            x[i] -= factor[i][k] * x[k];
        }
        x[i] /= factor[i][i];
    }
    for i in (0..n).rev() {
        for k in i + 1..n {
            x[i] -= factor[k][i] * x[k];
        }
        x[i] /= factor[i][i];
    }
    x
}
