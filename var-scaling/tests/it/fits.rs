//! Properties of the fits: a law comes back from its own points, exact or noisy.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use var_scaling::fit::law::{FittedLaw, Status, Subject};
use var_scaling::fit::point::Point;
use var_scaling::fit::power::{Curve, Mode, fit};
use var_scaling::fit::profile::intervals;
use var_tokenizer::random::Stream;

/// `count` points of a law over `decades` decades, with additive noise of `noise` times the fall.
fn points(curve: &Curve, count: usize, decades: f64, noise: f64, seed: u64) -> Vec<(f64, f64)> {
    let stream = Stream::new("noise", seed);
    let xs: Vec<f64> =
        (0..count).map(|i| 1e-4 * 10_f64.powf(decades * i as f64 / (count - 1) as f64)).collect();
    let fall = curve.at(xs[0]) - curve.at(xs[count - 1]);
    xs.iter().enumerate().map(|(i, &x)| (x, curve.at(x) + noise * fall * stream.normal(i as u64))).collect()
}

fn curves() -> impl Strategy<Value = Curve> {
    // The reducible part is of order one at the first point.
    (0.08..1.0_f64, 0.1..3.0_f64, 0.5..6.0_f64).prop_map(|(exponent, first, irreducible)| Curve {
        alpha: -exponent,
        ln_beta: -first.ln() / exponent - 1e-4_f64.ln(),
        irreducible,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn exact_points_give_the_exponent_to_a_millionth(curve in curves(), count in 5..12_usize, decades in 1.5..4.0_f64) {
        let data = points(&curve, count, decades, 0.0, 0);
        for mode in [Mode::Fitted, Mode::Given(curve.irreducible)] {
            let found = fit(&data, mode).unwrap();
            prop_assert_eq!(found.bound, None);
            prop_assert!((found.curve.alpha - curve.alpha).abs() < 1e-6, "{:?} {:?}", mode, found);
        }
    }

    #[test]
    fn the_unit_of_x_changes_beta_alone(curve in curves(), unit in 1e-6..1e6_f64) {
        let data = points(&curve, 8, 2.5, 0.01, 3);
        let scaled: Vec<(f64, f64)> = data.iter().map(|&(x, y)| (x * unit, y)).collect();
        let (a, b) = (fit(&data, Mode::Fitted).unwrap(), fit(&scaled, Mode::Fitted).unwrap());
        prop_assert_eq!(a.bound, b.bound);
        if a.bound.is_none() {
            prop_assert!((a.curve.alpha - b.curve.alpha).abs() < 1e-6);
            prop_assert!((a.curve.ln_beta - b.curve.ln_beta - unit.ln()).abs() < 1e-4);
        }
    }

    #[test]
    fn whatever_the_points_a_law_is_given_with_its_interval_or_not_at_all(
        ys in prop::collection::vec(0.01..10.0_f64, 1..9),
        given in prop::option::of(0.0..5.0_f64),
    ) {
        let points: Vec<Point> = ys
            .iter()
            .enumerate()
            .map(|(i, &y)| Point { run: format!("{i}"), size: format!("{i}"), x: 1.7_f64.powi(i as i32), y })
            .collect();
        let subject = Subject { name: "L(N)".into(), quantity: String::new(), variable: "N".into(), unit: String::new() };
        let law = FittedLaw::fit(subject, points, given.map_or(Mode::Fitted, Mode::Given), 0.95, None);
        prop_assert!(!law.verdict.is_empty());
        match law.coefficients {
            Some(c) => {
                prop_assert!(law.sizes >= 4);
                prop_assert!(c.alpha.value < 0.0);
                for e in [c.alpha, c.ln_beta, c.irreducible] {
                    prop_assert!(e.low.is_none_or(|low| low <= e.value) && e.high.is_none_or(|high| e.value <= high));
                }
                let closed = c.alpha.closed() && c.irreducible.closed();
                prop_assert_eq!(law.status == Status::Determined, closed, "one run per size");
                prop_assert!(c.irreducible.value >= 0.0);
                prop_assert!(ys.iter().all(|y| *y > c.irreducible.value));
                prop_assert!(matches!(law.status, Status::Determined | Status::Wide));
            }
            None => prop_assert!(law.verdict.contains("no exponent"), "{}", law.verdict),
        }
    }
}

proptest! {
    // A claim about chance, so the cases are the same every time: an interval that misses by three of its
    // widths comes about once in five thousand.
    #![proptest_config(ProptestConfig { rng_seed: RngSeed::Fixed(8), ..ProptestConfig::with_cases(200) })]

    #[test]
    fn noisy_points_give_the_law_back_within_its_interval(curve in curves(), seed in 0..1_000_000_u64) {
        // Each mode with the noise that it takes for granted: additive, or a factor on the reducible part.
        let additive = points(&curve, 10, 3.0, 0.005, seed);
        let stream = Stream::new("factors", seed);
        let factor = |i: usize| (0.02 * stream.normal(i as u64)).exp();
        let by_factor: Vec<(f64, f64)> = points(&curve, 10, 3.0, 0.0, 0)
            .into_iter()
            .enumerate()
            .map(|(i, (x, y))| (x, curve.irreducible + (y - curve.irreducible) * factor(i)))
            .collect();
        for (data, mode) in [(additive, Mode::Fitted), (by_factor, Mode::Given(curve.irreducible))] {
            let found = fit(&data, mode).unwrap();
            if found.bound.is_some() {
                continue;
            }
            let around = intervals(&data, &found.curve, mode, 0.95).alpha;
            prop_assert!(around.contains(found.curve.alpha), "{:?} {:?}", mode, around);
            if let (Some(low), Some(high)) = (around.low, around.high) {
                let width = high - low;
                prop_assert!(
                    (low - width..=high + width).contains(&curve.alpha),
                    "{:?}: {} not near {:?}", mode, curve.alpha, around
                );
            }
        }
    }
}
