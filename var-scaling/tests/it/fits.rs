//! Properties of the fits: a law comes back from its own points, exact or noisy.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use var_scaling::fit::law::{FittedLaw, Status, Subject};
use var_scaling::fit::point::Point;
use var_scaling::fit::power::{Curve, Mode, fit};
use var_scaling::fit::profile::intervals;
use var_scaling::fit::{FitOptions, FitsFile};
use var_scaling::result_line::ResultLine;
use var_scaling::results::Results;
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

/// A finished training under a law of parameters and tokens.
fn trained(params: u64, tokens: u64, off: f64) -> ResultLine {
    let loss = 4.0 + 30.0 * (params as f64).powf(-0.4) + 90.0 * (tokens as f64).powf(-0.35) + off;
    let line = serde_json::json!({
        "name": format!("{params}-{tokens}"), "depth": 1, "width": params, "params": params, "tokens": tokens,
        "flops": 6 * params * tokens, "val_loss_all": loss, "val_loss_last": loss, "val_err_all": 0.9,
        "val_err_last": 0.9, "seconds": 1.0, "run": "", "precision": "f32",
    });
    serde_json::from_value(line).unwrap()
}

#[test]
fn trainings_of_several_lengths_give_a_law_of_parameters_and_tokens() {
    let sizes = [43_000, 201_000, 586_000, 1_310_000];
    let lengths = [520_000, 1_040_000, 2_080_000, 4_160_000];
    let pairs = sizes.iter().flat_map(|&n| lengths.iter().map(move |&d| (n, d)));
    let exact = Results { lines: pairs.map(|(n, d)| trained(n, d, 0.0)).collect(), ..Results::default() };
    let fits = FitsFile::new(&exact, &FitOptions::default());
    let law = &fits.joint[0];
    assert_eq!((law.name.as_str(), law.runs), ("L_all(N, D)", 16));
    for (name, truth) in [("E", 4.0), ("alpha", 0.4), ("beta", 0.35)] {
        let [Some(value), low, high] = law.coefficient(name).unwrap() else { panic!("{law:?}") };
        assert!((value / truth - 1.0).abs() < 1e-5, "{name}: {value}");
        assert!(low.is_none_or(|low| low <= value) && high.is_none_or(|high| value <= high));
    }
    assert_eq!(fits.law("L_all(N)").unwrap().points.len(), 4, "one length for a law of N alone");

    let mut off = exact.clone();
    off.lines[5] = trained(off.lines[5].params, off.lines[5].tokens, 0.3);
    for (i, line) in off.lines.iter_mut().enumerate() {
        line.val_loss_all += 1e-4 * Stream::new("joint", 0).normal(i as u64);
    }
    let fits = FitsFile::new(&off, &FitOptions::default());
    let named = off.lines[5].name.as_str();
    let outliers = fits.joint[0].law["outliers"].as_array().unwrap();
    assert!(outliers.iter().any(|outlier| outlier["run"] == named), "{outliers:?}");

    let two = Results { lines: exact.lines[..8].to_vec(), ..Results::default() };
    assert!(FitsFile::new(&two, &FitOptions::default()).joint.is_empty(), "two sizes tell nothing");
}

/// A table of trainings, as `forecast` reads it.
fn table(lines: &[ResultLine]) -> (tempfile::TempDir, std::path::PathBuf) {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("runs.csv");
    let mut text = String::from(
        "name,depth,width,params,tokens,flops,val_loss_all,val_loss_last,val_err_all,val_err_last\n",
    );
    for l in lines {
        let (n, d, loss) = (l.params, l.tokens, l.val_loss_all);
        text += &format!("{},1,{n},{n},{d},{},{loss},{loss},0.9,0.9\n", l.name, 6 * n * d);
    }
    std::fs::write(&path, text).unwrap();
    (place, path)
}

fn program() -> assert_cmd::Command {
    assert_cmd::Command::cargo_bin("var-scaling").unwrap()
}

#[test]
fn a_forecast_has_the_loss_its_intervals_and_how_far_it_reaches() {
    let noise = Stream::new("forecast", 0);
    let sizes = [43_000, 201_000, 586_000, 1_310_000_u64];
    let lengths = [520_000, 1_040_000, 2_080_000, 4_160_000_u64];
    let lines: Vec<ResultLine> = sizes
        .iter()
        .flat_map(|&n| lengths.iter().map(move |&d| (n, d)))
        .map(|(n, d)| trained(n, d, 0.001 * noise.normal(n + d)))
        .collect();
    let (_place, path) = table(&lines);
    let mut command = program();
    command.arg("forecast").arg(&path).args(["--params", "2.62e6", "--tokens", "4.16e6", "--json"]);
    let output = command.assert().success().get_output().stdout.clone();
    let found: serde_json::Value = serde_json::from_slice(&output).unwrap();
    let truth = trained(2_620_000, 4_160_000, 0.0).val_loss_all;
    let number = |key: &str, i: usize| found[key][i].as_f64().unwrap();
    let loss = found["loss"].as_f64().unwrap();
    assert!((loss - truth).abs() < 0.005, "{loss} {truth}");
    assert!(number("of_law", 0) < loss && loss < number("of_law", 1));
    assert!(number("of_training", 0) < number("of_law", 0) && number("of_law", 1) < number("of_training", 1));
    assert!((number("of_training", 0)..number("of_training", 1)).contains(&truth));
    assert_eq!(found["reach"], serde_json::json!(["2.0 times the parameters of the largest training"]));

    let mut command = program();
    command.arg("forecast").arg(&path).args(["--compute", "1e14", "--target-loss", "4.9,3.9"]);
    let text = String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap();
    assert!(text.contains("C 1.0000e14: N ") && text.contains("loss 3.90000: not reachable"), "{text}");
}

#[test]
fn a_forecast_that_the_trainings_cannot_give_is_refused_with_what_is_missing() {
    let one_length: Vec<ResultLine> =
        [43_000, 201_000, 586_000, 1_310_000, 2_870_000].map(|n| trained(n, 4_160_000, 0.0)).into();
    let (_place, path) = table(&one_length);
    let fails = |arguments: &[&str], why: &str| {
        let mut command = program();
        command.arg("forecast").arg(&path).args(arguments);
        command.assert().code(2).stderr(predicates::str::contains(why));
    };
    fails(&[], "name the parameters of a model, a budget of compute, or a loss");
    fails(&["--params", "1e7", "--tokens", "1e7"], "at least three sizes and three lengths");
    fails(&["--compute", "1e15"], "at least three sizes and three lengths");
    fails(&["--params", "-3"], "expected a number above 0");
    fails(&["--params", "1e7", "--metric", "err_all"], "expected loss_all or loss_last");
    let mut command = program();
    command.arg("forecast").arg(&path).args(["--params", "1e7"]);
    let text = String::from_utf8(command.assert().success().get_output().stdout.clone()).unwrap();
    assert!(text.contains("law power of 5 trainings") && text.contains("3.5 times the parameters"), "{text}");
}
