//! Rows, a law, and what a fit makes small.

use super::model::{Jet, MOST, Model, Point};
use super::objective::Objective;
use super::row::Row;

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

    /// The objective.
    pub(super) fn sum(&self, p: &Point) -> f64 {
        let one = |row: &Row| {
            let law = self.model.value(p, row);
            if law > 0.0 {
                self.objective.penalty(self.objective.residual(law, row.loss)).0
            } else {
                f64::INFINITY
            }
        };
        self.rows.iter().map(one).sum()
    }

    /// The objective with gradient and Hessian.
    pub(super) fn expand(&self, p: &Point) -> Jet {
        let n = self.model.form.count();
        let mut all = Jet { value: 0.0, gradient: [0.0; MOST], hessian: [[0.0; MOST]; MOST] };
        for row in self.rows {
            let jet = self.model.jet(p, row);
            let (first, second) = self.objective.slopes(jet.value);
            let (penalty, by_r, bend) = self.objective.penalty(self.objective.residual(jet.value, row.loss));
            all.value += penalty;
            let (outer, inner) = (bend * first * first + by_r * second, by_r * first);
            for i in 0..n {
                all.gradient[i] += inner * jet.gradient[i];
                for j in 0..=i {
                    all.hessian[i][j] +=
                        outer * jet.gradient[i] * jet.gradient[j] + inner * jet.hessian[i][j];
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
