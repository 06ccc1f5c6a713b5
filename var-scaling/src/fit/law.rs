//! A fitted law: coefficients with intervals, or the reason why there are none.

use serde::{Deserialize, Serialize};

use super::means::LackOfFit;
use super::point::Point;
use super::power;
use super::profile::Ends;

/// Where the irreducible part comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Irreducible {
    /// It was given, or is that of the published form.
    Given,
    /// It was fitted with the exponent.
    Fitted,
}

/// Whether the points determine a law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// The law has an exponent, its intervals have both ends, and its sizes scatter no more than their seeds.
    Determined,
    /// The law has an exponent, but an interval is open, or the sizes scatter more than their seeds.
    Wide,
    /// There are too few sizes.
    TooFewSizes,
    /// The fit ended at a bound.
    AtBound,
    /// The values do not fall, or are equal within rounding.
    NotFalling,
}

/// A coefficient with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Coefficient {
    /// Best value.
    pub value: f64,
    /// Lower end of the interval; `None` if it is open.
    pub low: Option<f64>,
    /// Upper end of the interval; `None` if it is open.
    pub high: Option<f64>,
}

impl Coefficient {
    pub(super) fn new(value: f64, ends: Ends) -> Self {
        // Near the resolution of 64 bits, the value can be outside by a rounding error.
        Self { value, low: ends.low.map(|v| v.min(value)), high: ends.high.map(|v| v.max(value)) }
    }

    /// Whether the interval has both ends.
    pub fn closed(&self) -> bool {
        self.low.is_some() && self.high.is_some()
    }
}

/// The coefficients of `L∞ + (β·X)^α`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Coefficients {
    /// Exponent `α`.
    pub alpha: Coefficient,
    /// Natural logarithm of `β`; `β` itself can be too large for a number.
    pub ln_beta: Coefficient,
    /// Irreducible part `L∞`.
    pub irreducible: Coefficient,
}

/// The quantity and the variable of a law.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// Short name, for example `L_all(N)`.
    pub name: String,
    /// The quantity in words.
    pub quantity: String,
    /// `N` or `C`.
    pub variable: String,
    /// Unit of the variable.
    pub unit: String,
}

/// One law of `fits.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedLaw {
    /// Quantity and variable.
    #[serde(flatten)]
    pub subject: Subject,
    /// The form that was fitted.
    pub form: String,
    /// Whether the irreducible part was given or fitted.
    pub irreducible: Irreducible,
    /// Whether the points determine it.
    pub status: Status,
    /// Coefficients and status in words.
    pub verdict: String,
    /// The coefficients; `None` if the points do not give an exponent.
    pub coefficients: Option<Coefficients>,
    /// Pearson's correlation of the logarithms of the variable and of the value minus the irreducible part
    /// (of the whole value if there is no fit).
    pub pearson: Option<f64>,
    /// Level of the intervals, for example 0.95.
    pub level: f64,
    /// Number of different sizes.
    pub sizes: usize,
    /// Standard deviation between runs of one size; `None` if each size has one run.
    pub seed_deviation: Option<f64>,
    /// Test of the law against that deviation.
    pub lack_of_fit: Option<LackOfFit>,
    /// Exponent and `β` of the paper for the same law.
    pub published: Option<(f64, f64)>,
    /// Notes, one sentence each.
    pub notes: Vec<String>,
    /// The points.
    pub points: Vec<Point>,
}

impl FittedLaw {
    /// Whether the sizes scatter around the law more than their seeds, at the level of the intervals.
    pub(crate) fn lacks_fit(&self) -> bool {
        self.lack_of_fit.is_some_and(|test| test.p < 1.0 - self.level)
    }

    /// The fitted curve, if there is one.
    pub(crate) fn curve(&self) -> Option<power::Curve> {
        self.coefficients.map(|c| power::Curve {
            alpha: c.alpha.value,
            ln_beta: c.ln_beta.value,
            irreducible: c.irreducible.value,
        })
    }
}

/// A number with three significant digits and a minus sign (not a hyphen).
pub(crate) fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}").replace('-', "−");
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 8) as usize;
    format!("{value:.digits$}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(number(-0.2345), "−0.234");
        assert_eq!(number(-0.010_04), "−0.0100");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(number(0.0), "0");
    }
}
