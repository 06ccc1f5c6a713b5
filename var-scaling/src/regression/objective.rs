//! What a fit makes small.

use super::model::{Jet, MOST, Model, Point};
use super::row::Row;

/// The sum that a fit makes small.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Objective {
    /// `Σ (L̂ − L)² / 2`
    Squares,
    /// `Σ (ln L̂ − ln L)² / 2`
    LogSquares,
    /// `Σ Huber_δ(ln L̂ − ln L)`
    Huber(f64),
}

impl Objective {
    /// The residual of a value of the law.
    pub(super) fn residual(self, law: f64, loss: f64) -> f64 {
        match self {
            Self::Squares => law - loss,
            Self::LogSquares | Self::Huber(_) => (law / loss).ln(),
        }
    }

    /// First and second derivative of the residual by the value of the law.
    fn slopes(self, law: f64) -> (f64, f64) {
        match self {
            Self::Squares => (1.0, 0.0),
            Self::LogSquares | Self::Huber(_) => (1.0 / law, -1.0 / (law * law)),
        }
    }

    /// The penalty of a residual, with two derivatives.
    fn penalty(self, r: f64) -> (f64, f64, f64) {
        match self {
            Self::Huber(delta) if r.abs() > delta => {
                (delta * (r.abs() - delta / 2.0), delta * r.signum(), 0.0)
            }
            _ => (r * r / 2.0, r, 1.0),
        }
    }

    /// Gradient of the residual by the coefficients.
    pub(super) fn gradient(self, jet: &Jet) -> Point {
        let (slope, _) = self.slopes(jet.value);
        jet.gradient.map(|g| g * slope)
    }
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

    /// Residuals of all rows.
    pub(super) fn residuals(&self, p: &Point) -> Vec<f64> {
        self.rows.iter().map(|row| self.objective.residual(self.model.value(p, row), row.loss)).collect()
    }
}
