//! One law as it is written down: coefficients with intervals, or the reason why there are none.

use serde::{Deserialize, Serialize};

use super::means::LackOfFit;
use super::point::Point;
use super::power;
use super::profile::Ends;

/// Sizes below which no exponent is given.
pub(crate) const LEAST_SIZES: usize = 4;

/// How the irreducible part came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Irreducible {
    /// A person or the published form fixed it.
    Given,
    /// It was found together with the exponent.
    Fitted,
}

/// What may be said about a law.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// There is a best law, its intervals have both ends, and it misses the sizes by no more than their seeds'
    /// spread explains.
    Determined,
    /// There is a best law, but an interval has no end, or the sizes scatter more than their seeds.
    Wide,
    /// Too few sizes.
    TooFewSizes,
    /// The fit ended at a bound.
    AtBound,
    /// The values do not fall, or are equal within rounding.
    NotFalling,
}

/// A number with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Best value.
    pub value: f64,
    /// Lower end of the interval; none where it has no end.
    pub low: Option<f64>,
    /// Upper end of the interval; none where it has no end.
    pub high: Option<f64>,
}

impl Estimate {
    pub(super) fn new(value: f64, ends: Ends) -> Self {
        // A law near the end of what 64 bits resolve may lie a rounding error outside.
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
    pub alpha: Estimate,
    /// Natural logarithm of `β`; `β` itself may be beyond any number.
    pub ln_beta: Estimate,
    /// Irreducible part `L∞`.
    pub irreducible: Estimate,
}

/// What a law is about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// Short name, as in `L_all(N)`.
    pub name: String,
    /// Quantity in words.
    pub quantity: String,
    /// `N` or `C`.
    pub variable: String,
    /// Unit of the variable.
    pub unit: String,
}

/// One law of `fits.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FittedLaw {
    /// What it is about.
    #[serde(flatten)]
    pub subject: Subject,
    /// The form that was fitted.
    pub form: String,
    /// Whether the irreducible part was given or fitted.
    pub irreducible: Irreducible,
    /// What may be said.
    pub status: Status,
    /// The same in words.
    pub verdict: String,
    /// The coefficients; none where the data cannot carry an exponent.
    pub coefficients: Option<Coefficients>,
    /// Pearson's correlation of the logarithms of the variable and of the value less the irreducible part
    /// (of the whole value where there is no fit).
    pub pearson: Option<f64>,
    /// Share that the intervals are to cover.
    pub level: f64,
    /// Different sizes among the points.
    pub sizes: usize,
    /// Standard deviation between runs of one size; none where every size has one.
    pub seed_deviation: Option<f64>,
    /// Test of the best law against that deviation.
    pub lack_of_fit: Option<LackOfFit>,
    /// Exponent and `β` of the paper for the same law; second-hand, to stand next to it.
    pub published: Option<(f64, f64)>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// The points.
    pub points: Vec<Point>,
}

impl FittedLaw {
    /// Whether the sizes scatter about the law more than their seeds explain, at the level of the intervals.
    pub(crate) fn lacks_fit(&self) -> bool {
        self.lack_of_fit.is_some_and(|test| test.p < 1.0 - self.level)
    }

    /// The best curve, where there is one.
    pub(crate) fn curve(&self) -> Option<power::Curve> {
        self.coefficients.map(|c| power::Curve {
            alpha: c.alpha.value,
            ln_beta: c.ln_beta.value,
            irreducible: c.irreducible.value,
        })
    }
}

/// A number to three significant digits, with a true minus sign.
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
