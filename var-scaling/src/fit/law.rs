//! One law as it is written down: coefficients with intervals, or the reason why there are none.

use serde::{Deserialize, Serialize};

use super::bootstrap::{self, Bootstrap};
use super::power::{self, Bound, Mode};

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
    /// The exponent is inside its interval, and the interval is bounded.
    Determined,
    /// There is a best exponent, but its interval reaches the end of what a fit may take.
    Wide,
    /// Too few sizes.
    TooFewSizes,
    /// The fit ended at a bound.
    AtBound,
    /// The values do not fall.
    NotFalling,
}

/// A number with its interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// Best value.
    pub value: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Upper end of the interval.
    pub high: f64,
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
    /// Share of the bootstrap's draws that ended at a bound.
    pub draws_at_bound: Option<f64>,
    /// Different sizes among the points.
    pub sizes: usize,
    /// Exponent and `β` of the paper for the same law; second-hand, to stand beside it.
    pub published: Option<(f64, f64)>,
    /// What else is to be known.
    pub notes: Vec<String>,
    /// The points.
    pub points: Vec<Point>,
}

impl FittedLaw {
    /// Fits a law to `points`.
    pub fn fit(
        subject: Subject,
        points: Vec<Point>,
        mode: Mode,
        settings: &Bootstrap,
        published: Option<(f64, f64)>,
    ) -> Self {
        let symbol = if subject.name.starts_with("Err") { "Err" } else { "L" };
        let form = format!("{symbol} = {symbol}∞ + (β·{v})^α", v = subject.variable);
        let mut names: Vec<&str> = points.iter().map(|p| p.size.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        let sizes = names.len();
        let pairs: Vec<(f64, f64)> = points.iter().map(|p| (p.x, p.y)).collect();
        let mut law = Self {
            form,
            irreducible: if mode == Mode::Fitted { Irreducible::Fitted } else { Irreducible::Given },
            status: Status::TooFewSizes,
            verdict: String::new(),
            coefficients: None,
            pearson: log_pearson(&pairs, 0.0),
            level: settings.level,
            draws_at_bound: None,
            sizes,
            published,
            notes: not_monotone(&points).into_iter().collect(),
            subject,
            points,
        };
        if sizes < LEAST_SIZES {
            law.verdict = format!(
                "not enough sizes: {sizes} of at least {LEAST_SIZES}{}; no exponent",
                if law.subject.variable == "C" { " on the frontier" } else { "" }
            );
            return law;
        }
        let Some(found) = power::fit(&pairs, mode) else {
            law.verdict =
                "too few different points, or a value that is not a positive number; no exponent".into();
            return law;
        };
        if let Some(bound) = found.bound {
            law.status = if bound == Bound::NotFalling { Status::NotFalling } else { Status::AtBound };
            law.verdict = explain(bound, mode);
            return law;
        }
        let curve = found.curve;
        let around = bootstrap::intervals(&pairs, &curve, mode, sizes, settings, &law.subject.name);
        let with = |value: f64, i: bootstrap::Interval| Estimate { value, low: i.low, high: i.high };
        law.coefficients = Some(Coefficients {
            alpha: with(curve.alpha, around.alpha),
            ln_beta: with(curve.ln_beta, around.ln_beta),
            irreducible: with(curve.irreducible, around.irreducible),
        });
        law.pearson = log_pearson(&pairs, curve.irreducible);
        law.draws_at_bound = Some(around.at_bound);
        let open = around.alpha.high >= 0.0 || around.at_bound > (1.0 - settings.level) / 2.0;
        law.status = if open { Status::Wide } else { Status::Determined };
        law.verdict = law.words(&curve, open);
        law
    }

    /// The best curve, where there is one.
    pub fn curve(&self) -> Option<power::Curve> {
        self.coefficients.map(|c| power::Curve {
            alpha: c.alpha.value,
            ln_beta: c.ln_beta.value,
            irreducible: c.irreducible.value,
        })
    }

    fn words(&self, curve: &power::Curve, open: bool) -> String {
        let Some(c) = self.coefficients else { return String::new() };
        let how = match self.irreducible {
            Irreducible::Given => "given",
            Irreducible::Fitted => "fitted",
        };
        let percent = (self.level * 100.0).round();
        let head = format!(
            "exponent {} ({percent} % interval {} to {}), irreducible part {:.3} ({how})",
            number(curve.alpha),
            number(c.alpha.low),
            number(c.alpha.high),
            curve.irreducible,
        );
        if open {
            format!(
                "{head}; the interval has no end within reach, so these points do not determine the exponent: \
                 more sizes, more seeds or a given irreducible part would"
            )
        } else {
            head
        }
    }
}

fn explain(bound: Bound, mode: Mode) -> String {
    let reason = match bound {
        Bound::IrreducibleAtZero => {
            "the fitted irreducible part is zero, its bound: these points do not show where the curve levels off"
        }
        Bound::IrreducibleAtData if mode == Mode::Fitted => {
            "the fitted irreducible part reaches the smallest value, its bound: the largest sizes gain nothing"
        }
        Bound::IrreducibleAtData => "the given irreducible part is not below all values",
        Bound::ExponentAtZero => {
            "the fitted exponent is at its bound near zero: the points fall like a logarithm and show no power law"
        }
        Bound::ExponentAtLimit => {
            "the fitted exponent is at its far bound: nearly all of the fall happens between the smallest sizes"
        }
        Bound::NotFalling => "the values do not fall along the ladder",
    };
    format!("{reason}; no exponent")
}

/// Pearson's correlation of `ln x` and `ln(y − c)`.
fn log_pearson(points: &[(f64, f64)], c: f64) -> Option<f64> {
    let logs: Option<Vec<(f64, f64)>> =
        points.iter().map(|&(x, y)| (x > 0.0 && y > c).then(|| (x.ln(), (y - c).ln()))).collect();
    power::pearson(&logs?)
}

/// Names the sizes whose mean lies above that of the next smaller size.
fn not_monotone(points: &[Point]) -> Option<String> {
    let mut means: Vec<(f64, f64, f64, &str)> = Vec::new();
    for p in points {
        match means.iter_mut().find(|m| m.3 == p.size) {
            Some(m) => {
                m.0 = m.0.max(p.x);
                m.1 += p.y;
                m.2 += 1.0;
            }
            None => means.push((p.x, p.y, 1.0, &p.size)),
        }
    }
    means.sort_by(|a, b| a.0.total_cmp(&b.0));
    let worse: Vec<String> = means
        .windows(2)
        .filter_map(|w| match w {
            [a, b] if b.1 / b.2 > a.1 / a.2 => Some(format!("{} is worse than the smaller {}", b.3, a.3)),
            _ => None,
        })
        .collect();
    (!worse.is_empty()).then(|| format!("not monotone: {}", worse.join(", ")))
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
        FittedLaw::fit(subject, points, mode, &Bootstrap::default(), None)
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
    fn numbers_keep_three_digits() {
        assert_eq!(number(-0.2345), "−0.234");
        assert_eq!(number(-0.010_04), "−0.0100");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(number(0.0), "0");
    }
}
