//! One law as it is written down: coefficients with intervals, or the reason why there are none.

use serde::{Deserialize, Serialize};

use super::means::{LackOfFit, SizeMeans};
use super::power::{self, Bound, Mode};
use super::profile::{self, Ends};
use super::verdict;

/// Sizes below which no exponent is given.
pub const LEAST_SIZES: usize = 4;

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
    fn new(value: f64, ends: Ends) -> Self {
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

/// One point that a law was fitted to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Name of the run.
    pub run: String,
    /// Name of its size.
    pub size: String,
    /// Parameters or compute, in the law's unit.
    pub x: f64,
    /// Loss or error rate.
    pub y: f64,
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
    /// Exponent and `β` of the paper for the same law; second-hand, to stand beside it.
    pub published: Option<(f64, f64)>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// The points.
    pub points: Vec<Point>,
}

impl FittedLaw {
    /// Fits a law to one mean per size of `points`, with intervals that cover `level`.
    pub fn fit(
        subject: Subject,
        points: Vec<Point>,
        mode: Mode,
        level: f64,
        published: Option<(f64, f64)>,
    ) -> Self {
        let symbol = if subject.name.starts_with("Err") { "Err" } else { "L" };
        let form = format!("{symbol} = {symbol}∞ + (β·{v})^α", v = subject.variable);
        let groups = SizeMeans::new(&points);
        let means = groups.means(mode);
        let mut law = Self {
            form,
            irreducible: if mode == Mode::Fitted { Irreducible::Fitted } else { Irreducible::Given },
            status: Status::TooFewSizes,
            verdict: String::new(),
            coefficients: None,
            pearson: log_pearson(&means, 0.0),
            level,
            sizes: groups.different(),
            seed_deviation: groups.seed_deviation(),
            lack_of_fit: None,
            published,
            notes: groups.not_monotone().into_iter().collect(),
            subject,
            points,
        };
        if law.sizes < LEAST_SIZES {
            law.verdict = verdict::too_few(law.sizes, &law.subject.variable);
            return law;
        }
        if groups.equal_within_rounding() {
            law.status = Status::NotFalling;
            law.verdict = verdict::EQUAL.into();
            return law;
        }
        let Some(found) = power::fit(&means, mode) else {
            law.verdict = verdict::UNUSABLE.into();
            return law;
        };
        if let Some(bound) = found.bound {
            law.status = if bound == Bound::NotFalling { Status::NotFalling } else { Status::AtBound };
            law.verdict = verdict::at_bound(bound, mode);
            return law;
        }
        let curve = found.curve;
        let around = profile::intervals(&means, &curve, mode, level);
        let coefficients = Coefficients {
            alpha: Estimate::new(curve.alpha, around.alpha),
            ln_beta: Estimate::new(curve.ln_beta, around.ln_beta),
            irreducible: Estimate::new(curve.irreducible, around.irreducible),
        };
        law.pearson = log_pearson(&means, curve.irreducible);
        law.lack_of_fit = groups.lack_of_fit(mode);
        let closed = coefficients.alpha.closed() && coefficients.irreducible.closed();
        law.status = if closed && !law.lacks_fit() { Status::Determined } else { Status::Wide };
        law.coefficients = Some(coefficients);
        law.verdict = verdict::of(&law, &coefficients);
        law
    }

    /// Whether the sizes scatter about the law more than their seeds explain, at the level of the intervals.
    pub fn lacks_fit(&self) -> bool {
        self.lack_of_fit.is_some_and(|test| test.p < 1.0 - self.level)
    }

    /// The best curve, where there is one.
    pub fn curve(&self) -> Option<power::Curve> {
        self.coefficients.map(|c| power::Curve {
            alpha: c.alpha.value,
            ln_beta: c.ln_beta.value,
            irreducible: c.irreducible.value,
        })
    }
}

/// Pearson's correlation of `ln x` and `ln(y − c)`.
fn log_pearson(points: &[(f64, f64)], c: f64) -> Option<f64> {
    let logs: Option<Vec<(f64, f64)>> =
        points.iter().map(|&(x, y)| (x > 0.0 && y > c).then(|| (x.ln(), (y - c).ln()))).collect();
    power::pearson(&logs?)
}

/// A number to three significant digits, with a true minus sign.
pub fn number(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}").replace('-', "−");
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 8) as usize;
    format!("{value:.digits$}").replace('-', "−")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn law(ys: &[f64], mode: Mode) -> FittedLaw {
        let subject = Subject {
            name: "L_all(N)".into(),
            quantity: "loss".into(),
            variable: "N".into(),
            unit: "1".into(),
        };
        let points = ys
            .iter()
            .enumerate()
            .map(|(i, &y)| Point { run: format!("r{i}"), size: format!("s{i}"), x: 4_f64.powi(i as i32), y })
            .collect();
        FittedLaw::fit(subject, points, mode, 0.95, None)
    }

    #[test]
    fn three_sizes_have_no_exponent_and_say_so() {
        let found = law(&[5.0, 4.0, 3.5], Mode::Given(0.0));
        assert_eq!(found.status, Status::TooFewSizes);
        assert!(found.coefficients.is_none());
        assert!(found.verdict.contains("not enough sizes: 3"), "{}", found.verdict);
    }

    #[test]
    fn a_fit_at_a_bound_has_no_exponent_and_says_which() {
        let found = law(&[5.0, 4.0, 4.0, 4.0, 4.0], Mode::Fitted);
        assert_eq!(found.status, Status::AtBound);
        assert!(found.coefficients.is_none() && found.verdict.contains("bound"), "{}", found.verdict);
        let found = law(&[5.0, 4.0, 3.5, 3.2], Mode::Given(3.3));
        assert!(found.verdict.contains("not below all values"), "{}", found.verdict);
    }

    #[test]
    fn a_size_that_is_worse_than_a_smaller_one_is_named() {
        let found = law(&[5.0, 4.0, 4.2, 3.5, 3.4], Mode::Given(2.0));
        assert!(found.notes[0].contains("s2 is worse than the smaller s1"), "{:?}", found.notes);
        assert!(found.coefficients.is_some());
        let rising = law(&[3.0, 3.5, 4.0, 4.2], Mode::Given(2.0));
        assert_eq!(rising.status, Status::NotFalling);
    }

    #[test]
    fn a_clean_law_is_determined_and_says_given_or_fitted() {
        let ys: Vec<f64> = (0..6).map(|i| 2.0 + 3.0 * 4_f64.powi(i).powf(-0.3)).collect();
        let found = law(&ys, Mode::Fitted);
        assert_eq!(found.status, Status::Determined);
        assert!(
            found.verdict.contains("exponent −0.300") && found.verdict.contains("(fitted)"),
            "{}",
            found.verdict
        );
        assert!(found.pearson.unwrap() < -0.999_999);
        assert!(law(&ys, Mode::Given(2.0)).verdict.contains("(given)"));
    }

    #[test]
    fn values_equal_within_rounding_have_no_exponent() {
        for ys in [[4.0; 5], [4.000_002, 4.000_001_5, 4.000_001, 4.000_000_5, 4.0]] {
            for mode in [Mode::Fitted, Mode::Given(1.0)] {
                let found = law(&ys, mode);
                assert_eq!(found.status, Status::NotFalling, "{found:?}");
                assert!(found.verdict.contains("equal within rounding"), "{}", found.verdict);
            }
        }
    }

    #[test]
    fn sizes_that_scatter_more_than_their_seeds_leave_the_exponent_undetermined() {
        let law = |scatter: f64| {
            let off = [0.0, 1.0, -1.0, -0.5, 1.0, -0.7, 0.2, 0.4];
            let points = off.iter().enumerate().flat_map(|(i, off)| {
                let x = 4_f64.powi(i as i32);
                let y = 2.0 + 3.0 * x.powf(-0.3) + scatter * off;
                [-0.001, 0.0, 0.001].map(|seed| Point {
                    run: "r".into(),
                    size: format!("s{i}"),
                    x,
                    y: y + seed,
                })
            });
            let subject = Subject {
                name: "L_all(N)".into(),
                quantity: "loss".into(),
                variable: "N".into(),
                unit: "1".into(),
            };
            FittedLaw::fit(subject, points.collect(), Mode::Fitted, 0.95, None)
        };
        let clean = law(0.000_3);
        assert_eq!(clean.status, Status::Determined, "{}", clean.verdict);
        assert!(clean.verdict.contains("no lack of fit beyond the spread of seeds"), "{}", clean.verdict);
        let scattered = law(0.02);
        assert_eq!(scattered.status, Status::Wide);
        assert!(scattered.coefficients.is_some() && scattered.lacks_fit());
        assert!(scattered.verdict.contains("scatter more than their seeds"), "{}", scattered.verdict);
    }

    #[test]
    fn numbers_keep_three_digits() {
        assert_eq!(number(-0.2345), "−0.234");
        assert_eq!(number(-0.010_04), "−0.0100");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(number(0.0), "0");
    }
}
