//! Starts for a fit: exponents on a grid, the other coefficients by linear least squares (variable projection).

use super::model::{A, ALPHA, B, BETA, E, Form, MOST, Point, RSTAR};
use super::newton::{cholesky, substitute};
use super::objective::Objective;
use super::problem::Problem;

/// Smallest and largest exponent of the grid.
const ENDS: (f64, f64) = (0.02, 2.5);
/// Repetitions after which data are worth little.
const RSTARS: [f64; 4] = [1.0, 4.0, 15.0, 60.0];

/// All starts: `grid` exponents per variable, evenly spaced in their logarithm.
pub(super) fn starts(problem: &Problem<'_>, grid: usize) -> Vec<Point> {
    let ratio = (ENDS.1 / ENDS.0).ln() / grid.saturating_sub(1).max(1) as f64;
    let exponents: Vec<f64> = (0..grid).map(|i| ENDS.0 * (ratio * i as f64).exp()).collect();
    let mut all = Vec::new();
    for &alpha in &exponents {
        match problem.model.form {
            Form::Power => all.push(project(problem, alpha, 1.0, 0.0)),
            Form::Joint => all.extend(exponents.iter().map(|&beta| project(problem, alpha, beta, 0.0))),
            Form::Repetition => {
                for &beta in &exponents {
                    all.extend(RSTARS.iter().map(|r| project(problem, alpha, beta, r.ln())));
                }
            }
        }
    }
    all
}

/// The best E, A and B for given exponents, none below zero.
pub(super) fn project(problem: &Problem<'_>, alpha: f64, beta: f64, ln_r: f64) -> Point {
    let mut p = [0.0; MOST];
    (p[ALPHA], p[BETA], p[RSTAR]) = (alpha, beta, ln_r);
    let powers = if problem.model.form == Form::Power { 1 } else { 2 };
    let mut columns: Vec<usize> = if problem.given.is_some() { vec![] } else { vec![E] };
    columns.extend([A, B].iter().take(powers));
    let given = problem.given.unwrap_or(0.0);
    // Unit powers: θ = 0.
    let jets: Vec<(f64, [f64; MOST], f64)> = problem
        .rows
        .iter()
        .map(|row| {
            let weight = if problem.objective == Objective::Squares { 1.0 } else { 1.0 / row.loss };
            (weight, problem.model.jet(&p, row).gradient, row.loss - given)
        })
        .collect();
    let typical = problem.rows.iter().map(|r| r.loss).sum::<f64>() / problem.rows.len() as f64 - given;
    let mut found = [0.0; MOST];
    let mut left = columns;
    // Leaves out what would be negative.
    while !left.is_empty() {
        let Some(x) = least_squares(&jets, &left) else { break };
        let negative = left.iter().zip(&x).position(|(_, v)| *v <= 0.0);
        match negative {
            Some(i) => {
                left.remove(i);
            }
            None => {
                for (&i, v) in left.iter().zip(x) {
                    found[i] = v;
                }
                break;
            }
        }
    }
    p[E] = problem.given.unwrap_or(found[E]);
    for i in [A, B].into_iter().take(powers) {
        // A power that is left out starts small.
        p[i] = if found[i] > 0.0 { found[i].ln() } else { (1e-3 * typical.abs()).max(1e-12).ln() };
    }
    p
}

/// Weighted linear least squares of the third on `columns` of the second.
fn least_squares(rows: &[(f64, [f64; MOST], f64)], columns: &[usize]) -> Option<Vec<f64>> {
    let n = columns.len();
    let (mut m, mut right) = (vec![vec![0.0; n]; n], vec![0.0; n]);
    for (weight, values, target) in rows {
        let w = weight * weight;
        for (a, &i) in columns.iter().enumerate() {
            right[a] += w * values[i] * target;
            for (b, &j) in columns.iter().enumerate() {
                m[a][b] += w * values[i] * values[j];
            }
        }
    }
    let scale: Vec<f64> = (0..n).map(|i| m[i][i].max(1e-300).sqrt()).collect();
    for a in 0..n {
        right[a] /= scale[a];
        for b in 0..n {
            m[a][b] /= scale[a] * scale[b];
        }
    }
    let x = substitute(&cholesky(&m)?, &right);
    Some(x.iter().zip(&scale).map(|(x, s)| x / s).collect())
}
