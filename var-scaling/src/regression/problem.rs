//! Rows, a law, and what a fit makes small.

use super::model::{Jet, MOST, Model, Point};
use super::objective::Objective;
use super::row::Row;

/// The second derivatives of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curvature {
    /// As they are: exact near a minimum, but of any sign far from it.
    Exact,
    /// Those of weighted squares with the same slope, of a law taken as linear: never negative.
    Positive,
}

/// Rows, a law, and an objective.
#[derive(Debug, Clone)]
pub(super) struct Problem<'a> {
    pub rows: &'a [Row],
    pub model: Model,
    pub objective: Objective,
    /// Whether E is given.
    pub given: Option<f64>,
}

impl Problem<'_> {
    /// Number of coefficients that are fitted.
    pub(super) fn free(&self) -> usize {
        self.model.form.count() - usize::from(self.given.is_some())
    }

    /// The objective with gradient and Hessian; infinite where the law is not above 0.
    pub(super) fn expand(&self, p: &Point, curvature: Curvature) -> Jet {
        let n = self.model.form.count();
        let mut all = Jet { value: 0.0, gradient: [0.0; MOST], hessian: [[0.0; MOST]; MOST] };
        for row in self.rows {
            let jet = self.model.jet(p, row);
            if jet.value.is_nan() || jet.value <= 0.0 {
                all.value = f64::INFINITY;
                return all;
            }
            let (first, second) = self.objective.slopes(jet.value);
            let residual = self.objective.residual(jet.value, row.loss);
            let (penalty, by_r, bend) = self.objective.penalty(residual);
            all.value += penalty;
            let inner = by_r * first;
            let (outer, of_law) = match curvature {
                Curvature::Exact => (bend * first * first + by_r * second, inner),
                Curvature::Positive => {
                    let weight = if residual == 0.0 { 1.0 } else { by_r / residual };
                    (weight * first * first, 0.0)
                }
            };
            for i in 0..n {
                all.gradient[i] += inner * jet.gradient[i];
                for j in 0..=i {
                    all.hessian[i][j] +=
                        outer * jet.gradient[i] * jet.gradient[j] + of_law * jet.hessian[i][j];
                }
            }
        }
        for i in 0..n {
            for j in 0..i {
                all.hessian[j][i] = all.hessian[i][j];
            }
        }
        all
    }

    /// Gradients of the residuals of all rows, by the coefficients.
    pub(super) fn gradients(&self, p: &Point) -> Vec<Point> {
        let one = |row: &Row| {
            let jet = self.model.jet(p, row);
            jet.gradient.map(|g| g * self.objective.slopes(jet.value).0)
        };
        self.rows.iter().map(one).collect()
    }

    /// Residuals of all rows.
    pub(super) fn residuals(&self, p: &Point) -> Vec<f64> {
        self.rows.iter().map(|row| self.objective.residual(self.model.value(p, row), row.loss)).collect()
    }
}
