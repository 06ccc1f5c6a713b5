//! The best fit from all starts.

use rayon::prelude::*;

use super::model::{ALPHA, BETA, E, Form, MOST, Point};
use super::newton::{bounds, minimise};
use super::problem::Problem;
use super::starts::starts;
use crate::statistics::EXPONENTS;

/// Sums within this share of the least are the same minimum.
const SAME: f64 = 1e-7;

/// A fit.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Solution {
    /// The coefficients.
    pub point: Point,
    /// The objective.
    pub sum: f64,
    /// Starts, and those that reached the minimum.
    pub starts: (usize, usize),
}

/// The bound at which a fit ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Edge {
    /// The irreducible part is zero.
    EAtZero,
    /// It reaches the smallest loss.
    EAtData,
    /// An exponent is at an end of its range.
    Exponent,
}

impl Edge {
    /// Its name in fits.json.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::EAtZero => "E_at_zero",
            Self::EAtData => "E_at_data",
            Self::Exponent => "alpha",
        }
    }
}

/// Fits from all starts, in parallel.
pub(super) fn solve(problem: &Problem<'_>, grid: usize) -> Option<Solution> {
    from(problem, &starts(problem, grid))
}

/// Fits from these starts.
pub(super) fn from(problem: &Problem<'_>, starts: &[Point]) -> Option<Solution> {
    let found: Vec<(Point, f64)> = starts
        .par_iter()
        .map(|start| minimise(problem, start, &[false; MOST]))
        .filter(|(point, sum)| sum.is_finite() && point.iter().all(|v| v.is_finite()))
        .collect();
    let (point, sum) = found.iter().min_by(|a, b| a.1.total_cmp(&b.1)).copied()?;
    let same = found.iter().filter(|f| f.1 <= sum * (1.0 + SAME) + 1e-20).count();
    Some(Solution { point, sum, starts: (starts.len(), same) })
}

/// The bound at which a solution is, if any.
pub(super) fn edge(problem: &Problem<'_>, point: &Point) -> Option<Edge> {
    let (low, high) = bounds(problem)[E];
    let exponents = if problem.model.form == Form::Power { &[ALPHA][..] } else { &[ALPHA, BETA] };
    if exponents.iter().any(|&i| point[i] <= EXPONENTS.0 * 1.001 || point[i] >= EXPONENTS.1 * 0.999) {
        return Some(Edge::Exponent);
    }
    if problem.given.is_some() {
        return None;
    }
    if point[E] <= 1e-9 * high {
        Some(Edge::EAtZero)
    } else if point[E] >= high * (1.0 - 1e-9) && low < high {
        Some(Edge::EAtData)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use var_tokenizer::random::Stream;

    use super::super::model::Model;
    use super::super::objective::Objective;
    use super::super::row::Row;
    use super::*;

    /// Trainings of `sizes` sizes and `lengths` lengths around a law of parameters and tokens.
    fn rows(sizes: u64, lengths: u64, noise: f64) -> Vec<Row> {
        let stream = Stream::new("starts", 0);
        let row = |i: u64| {
            let x = 1e7 * 1.4_f64.powi((i % sizes) as i32);
            let d = 1e9 * 1.5_f64.powi((i / sizes) as i32);
            let law = 1.8 + 480.0 * x.powf(-0.35) + 2100.0 * d.powf(-0.37);
            Row::new(i as usize, (x, d), None, law * (noise * stream.normal(i)).exp())
        };
        (0..sizes * lengths).map(row).collect()
    }

    #[test]
    fn every_start_of_a_fine_grid_reaches_the_same_minimum() {
        let rows = rows(20, 12, 0.005);
        for objective in [Objective::Huber(1e-3), Objective::Squares] {
            let problem =
                Problem { rows: &rows, model: Model::new(Form::Joint, &rows), objective, given: None };
            let found = solve(&problem, 24).unwrap();
            assert_eq!(found.starts, (24 * 24, 24 * 24), "{objective:?}");
        }
    }
}
