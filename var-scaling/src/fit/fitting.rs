//! From points to a law: one mean per size, the curve, its intervals, the verdict.

use super::law::{Coefficient, Coefficients, FittedLaw, Irreducible, Status, Subject};
use super::means::SizeMeans;
use super::point::Point;
use super::power::{self, Bound, Mode};
use super::{profile, verdict};
use crate::statistics::{LEAST_SIZES, pearson};

impl FittedLaw {
    /// Fits a law to the mean of each size of `points`, with intervals of `level`.
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
            alpha: Coefficient::new(curve.alpha, around.alpha),
            ln_beta: Coefficient::new(curve.ln_beta, around.ln_beta),
            irreducible: Coefficient::new(curve.irreducible, around.irreducible),
        };
        law.pearson = log_pearson(&means, curve.irreducible);
        law.lack_of_fit = groups.lack_of_fit(mode);
        let closed = coefficients.alpha.closed() && coefficients.irreducible.closed();
        law.status = if closed && !law.lacks_fit() { Status::Determined } else { Status::Wide };
        law.coefficients = Some(coefficients);
        law.verdict = verdict::of(&law, &coefficients);
        law
    }
}

/// Pearson's correlation of `ln x` and `ln(y − c)`.
fn log_pearson(points: &[(f64, f64)], c: f64) -> Option<f64> {
    let logs: Option<Vec<(f64, f64)>> =
        points.iter().map(|&(x, y)| (x > 0.0 && y > c).then(|| (x.ln(), (y - c).ln()))).collect();
    pearson(&logs?)
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
    fn three_sizes_have_no_exponent_and_a_reason() {
        let found = law(&[5.0, 4.0, 3.5], Mode::Given(0.0));
        assert_eq!(found.status, Status::TooFewSizes);
        assert!(found.coefficients.is_none());
        assert!(found.verdict.contains("not enough sizes (found 3, at least 4"), "{}", found.verdict);
    }

    #[test]
    fn a_fit_at_a_bound_has_no_exponent_and_names_the_bound() {
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
        assert!(clean.verdict.contains("scatter no more than their seeds"), "{}", clean.verdict);
        let scattered = law(0.02);
        assert_eq!(scattered.status, Status::Wide);
        assert!(scattered.coefficients.is_some() && scattered.lacks_fit());
        assert!(scattered.verdict.contains("scatter more than their seeds"), "{}", scattered.verdict);
    }
}
