//! Intervals of coefficients: from the Hessian, and by profile likelihood. For sums of squares.

use super::model::{A, ALPHA, B, BETA, E, Form, MOST, Model, Point};
use super::newton::{bounds, cholesky, minimise, substitute};
use super::problem::Problem;
use super::solve::Solution;
use crate::statistics::f_quantile;

/// Lower and upper end; `None` where there is no end.
pub(super) type Ends = (Option<f64>, Option<f64>);

/// Steps outwards until the end of a profile is enclosed.
const OUTWARDS: usize = 200;

/// Half-widths of all coefficients from the curvature of the sum, `s²(JᵀJ)⁻¹` with Student's quantile; of `ln A` and `ln B`
/// in raw units for the factors. `None` without degrees of freedom or without full rank.
pub(super) fn half_widths(problem: &Problem<'_>, solution: &Solution, level: f64) -> Option<Point> {
    let freedom = problem.rows.len().checked_sub(problem.free()).filter(|f| *f > 0)?;
    let columns: Vec<usize> =
        (0..problem.model.form.count()).filter(|&i| i != E || problem.given.is_none()).collect();
    let n = columns.len();
    let gradients = problem.gradients(&solution.point);
    let scale: Vec<f64> = columns
        .iter()
        .map(|&i| gradients.iter().map(|g| g[i] * g[i]).sum::<f64>().sqrt().max(1e-300))
        .collect();
    let mut m = vec![vec![0.0; n]; n];
    for g in &gradients {
        for (a, &i) in columns.iter().enumerate() {
            for (b, &j) in columns.iter().enumerate() {
                m[a][b] += g[i] / scale[a] * (g[j] / scale[b]);
            }
        }
    }
    let factor = cholesky(&m)?;
    let variance = 2.0 * solution.sum / freedom as f64;
    // The variance of a direction in the coefficients.
    let of = |direction: &Point| {
        let right: Vec<f64> = columns.iter().zip(&scale).map(|(&i, s)| direction[i] / s).collect();
        let x = substitute(&factor, &right);
        variance * right.iter().zip(&x).map(|(a, b)| a * b).sum::<f64>()
    };
    let quantile = f_quantile(level, freedom).sqrt();
    let mut all = [0.0; MOST];
    for &i in &columns {
        let mut direction = [0.0; MOST];
        direction[i] = 1.0;
        match i {
            A => direction[ALPHA] = problem.model.middle.0,
            B => direction[BETA] = problem.model.middle.1,
            _ => {}
        }
        all[i] = quantile * of(&direction).sqrt();
    }
    Some(all)
}

/// All values of coefficient `i` (A and B: their logarithms in raw units) whose best sum is at most
/// `least·(1 + F/(n − p))`.
pub(super) fn profile(problem: &Problem<'_>, solution: &Solution, i: usize, level: f64) -> Ends {
    // With logarithms as they are, θ is the logarithm of the factor in raw units.
    let middle = if matches!(i, A | B) { (0.0, 0.0) } else { problem.model.middle };
    around(problem, solution, i, level, middle)
}

/// The same, where A and B are the logarithms of the powers at `middle`, the logarithms of the variables.
pub(super) fn around(
    problem: &Problem<'_>,
    solution: &Solution,
    i: usize,
    level: f64,
    middle: (f64, f64),
) -> Ends {
    let Some(freedom) = problem.rows.len().checked_sub(problem.free()).filter(|f| *f > 0) else {
        return (None, None);
    };
    if i == E && problem.given.is_some() {
        return (problem.given, problem.given);
    }
    let (mut problem, mut best) = (problem.clone(), solution.point);
    if middle != problem.model.middle {
        let (ln_a, ln_b) = problem.model.ln_factors(&best);
        (best[A], best[B]) = (ln_a - best[ALPHA] * middle.0, ln_b - best[BETA] * middle.1);
        problem.model = Model { middle, ..problem.model.clone() };
    }
    let scale: f64 =
        problem.rows.iter().map(|r| problem.objective.residual(r.loss * (1.0 + 1e-9), r.loss).powi(2)).sum();
    let limit = solution.sum.max(scale / 2.0) * (1.0 + f_quantile(level, freedom) / freedom as f64);
    let width = half_widths(&problem, &Solution { point: best, ..solution.clone() }, level);
    let first = width
        .map(|w| w[i] / 2.0)
        .filter(|w| w.is_finite() && *w > 0.0)
        .unwrap_or(best[i].abs() * 0.01 + 1e-6);
    let mut fixed = [false; MOST];
    fixed[i] = true;
    let range = match i {
        A | B => (best[i] - 700.0, best[i] + 700.0),
        _ => bounds(&problem)[i],
    };
    let end = |direction: f64| {
        let (mut inside, mut warm, mut step) = (best[i], best, first);
        for _ in 0..OUTWARDS {
            let value = (inside + direction * step).clamp(range.0, range.1);
            let mut start = warm;
            start[i] = value;
            let (point, sum) = minimise(&problem, &start, &fixed);
            if sum > limit {
                return Some(crossing(&problem, &fixed, i, (inside, warm), value, limit));
            }
            if value <= range.0 || value >= range.1 {
                return None;
            }
            (inside, warm, step) = (value, point, step * 1.5);
        }
        None
    };
    (end(-1.0), end(1.0))
}

/// Where the profile crosses the limit between `inside` and `outside`.
fn crossing(
    problem: &Problem<'_>,
    fixed: &[bool; MOST],
    i: usize,
    inside: (f64, Point),
    mut outside: f64,
    limit: f64,
) -> f64 {
    let (mut value, mut warm) = inside;
    for _ in 0..40 {
        let middle = (value + outside) / 2.0;
        let mut start = warm;
        start[i] = middle;
        let (point, sum) = minimise(problem, &start, fixed);
        if sum <= limit {
            (value, warm) = (middle, point)
        } else {
            outside = middle
        }
        if (outside - value).abs() <= 1e-10 * value.abs() {
            break;
        }
    }
    value
}

/// Coefficients that have intervals, in the order of fits.json.
pub(super) fn of_form(form: Form) -> &'static [(usize, &'static str)] {
    let all: &[(usize, &str)] =
        &[(E, "E"), (A, "A"), (ALPHA, "alpha"), (B, "B"), (BETA, "beta"), (super::model::RSTAR, "rstar")];
    &all[..form.count()]
}
