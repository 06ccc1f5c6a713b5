//! The laws as functions of their coefficients, with first and second derivatives.
//!
//! A law is `E + Σ exp(θ − a·x)`: a constant, and one falling power per variable. `x` is the logarithm of the variable minus
//! its mean over the rows. Without the mean, `θ` and `a` would be nearly the same direction.

use super::row::Row;

/// Most coefficients of a law.
pub(super) const MOST: usize = 6;
/// Places of the coefficients.
pub(super) const E: usize = 0;
pub(super) const A: usize = 1;
pub(super) const ALPHA: usize = 2;
pub(super) const B: usize = 3;
pub(super) const BETA: usize = 4;
pub(super) const RSTAR: usize = 5;

/// Coefficients: E, θ of the first power, α, θ of the second power, β, ln R*.
pub(super) type Point = [f64; MOST];

/// The form of a law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `E + A·X^−α`
    Power,
    /// `E + A·N^−α + B·D^−β`
    Joint,
    /// As `Joint`, with what repeated data are worth: `D' = U + U·R·(1 − exp(−(D/U − 1)/R))` for D > U.
    Repetition,
}

impl Form {
    /// Number of coefficients.
    pub(super) fn count(self) -> usize {
        match self {
            Self::Power => 3,
            Self::Joint => 5,
            Self::Repetition => 6,
        }
    }
}

/// A value with its derivatives by the coefficients.
#[derive(Debug, Clone, Copy)]
pub(super) struct Jet {
    pub value: f64,
    pub gradient: Point,
    pub hessian: [Point; MOST],
}

/// A form, and the means of the logarithms.
#[derive(Debug, Clone)]
pub(super) struct Model {
    pub form: Form,
    /// Mean of the logarithm of the first variable, and of D.
    pub middle: (f64, f64),
    /// Where the first coefficient is the value of the law, instead of E: for the interval of a forecast.
    pub anchor: Option<Row>,
}

impl Model {
    /// A form on rows.
    pub(super) fn new(form: Form, rows: &[Row]) -> Self {
        let mean =
            |value: &dyn Fn(&Row) -> f64| rows.iter().map(value).sum::<f64>() / rows.len().max(1) as f64;
        Self { form, middle: (mean(&|r| r.logs.0), mean(&|r| r.logs.1)), anchor: None }
    }

    /// The law at a row.
    #[inline]
    pub(super) fn jet(&self, p: &Point, row: &Row) -> Jet {
        let mut jet = self.powers(p, row);
        if let Some(anchor) = &self.anchor {
            jet.subtract(&self.powers(p, anchor));
        }
        jet.value += p[E];
        jet.gradient[E] = 1.0;
        jet
    }

    /// The falling powers.
    #[inline]
    fn powers(&self, p: &Point, row: &Row) -> Jet {
        let mut jet = Jet { value: 0.0, gradient: [0.0; MOST], hessian: [[0.0; MOST]; MOST] };
        let x = row.logs.0 - self.middle.0;
        let first = (p[A] - p[ALPHA] * x).exp();
        jet.add(first, &[(A, 1.0), (ALPHA, -x)], &[]);
        if self.form != Form::Power {
            let (log, slope, bend) = self.worth(p, row);
            let x = log - self.middle.1;
            let second = (p[B] - p[BETA] * x).exp();
            if self.form == Form::Repetition {
                let by_r = -p[BETA] * slope;
                let mixed = [(BETA, RSTAR, -slope), (RSTAR, RSTAR, -p[BETA] * bend)];
                jet.add(second, &[(B, 1.0), (BETA, -x), (RSTAR, by_r)], &mixed);
            } else {
                jet.add(second, &[(B, 1.0), (BETA, -x)], &[]);
            }
        }
        jet
    }

    /// The value alone.
    pub(super) fn value(&self, p: &Point, row: &Row) -> f64 {
        p[E] + self.power_value(p, row)
            - self.anchor.as_ref().map_or(0.0, |anchor| self.power_value(p, anchor))
    }

    fn power_value(&self, p: &Point, row: &Row) -> f64 {
        let first = (p[A] - p[ALPHA] * (row.logs.0 - self.middle.0)).exp();
        if self.form == Form::Power {
            return first;
        }
        first + (p[B] - p[BETA] * (self.worth(p, row).0 - self.middle.1)).exp()
    }

    /// Logarithm of the data's worth, and its first and second derivative by ln R*.
    #[inline]
    fn worth(&self, p: &Point, row: &Row) -> (f64, f64, f64) {
        let Some(unique) = row.unique.filter(|u| self.form == Form::Repetition && row.d > *u) else {
            return (row.logs.1, 0.0, 0.0);
        };
        let r = p[RSTAR].exp();
        let q = (row.d / unique - 1.0) / r;
        let decay = (-q).exp();
        let worth = unique * (1.0 + r * (1.0 - decay));
        // By R: U·(1 − e^−q·(1 + q)), and once more: −U·q²·e^−q / R.
        let by_r = unique * (1.0 - decay * (1.0 + q)) * r;
        let twice = by_r - unique * q * q * decay * r;
        let slope = by_r / worth;
        (worth.ln(), slope, twice / worth - slope * slope)
    }

    /// A in `A·X^−α`, as its logarithm; and B.
    pub(super) fn ln_factors(&self, p: &Point) -> (f64, f64) {
        (p[A] + p[ALPHA] * self.middle.0, p[B] + p[BETA] * self.middle.1)
    }
}

impl Jet {
    fn subtract(&mut self, other: &Self) {
        self.value -= other.value;
        for i in 0..MOST {
            self.gradient[i] -= other.gradient[i];
            for j in 0..MOST {
                self.hessian[i][j] -= other.hessian[i][j];
            }
        }
    }

    /// Adds `term = exp(z)`, from the derivatives of `z`.
    #[inline]
    fn add(&mut self, term: f64, gradient: &[(usize, f64)], hessian: &[(usize, usize, f64)]) {
        self.value += term;
        for &(i, gi) in gradient {
            self.gradient[i] += term * gi;
            for &(j, gj) in gradient {
                self.hessian[i][j] += term * gi * gj;
            }
        }
        for &(i, j, h) in hessian {
            self.hessian[i][j] += term * h;
            if i != j {
                self.hessian[j][i] += term * h;
            }
        }
    }
}
