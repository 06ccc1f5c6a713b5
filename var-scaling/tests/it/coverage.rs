//! Intervals cover as often as they say: simulated ladders whose truth is known.

use std::collections::BTreeMap;

use var_scaling::fit::law::{FittedLaw, Status, Subject};
use var_scaling::fit::point::Point;
use var_scaling::fit::power::Mode;
use var_scaling::fit::{FitOptions, FitsFile, ForecastRequest, forecast};
use var_scaling::result_line::{Metric, ResultLine};
use var_scaling::results::{CurvePoint, Results};
use var_tokenizer::random::Stream;
use var_train::records::ModelScores;

const LADDERS: u64 = 250;
/// The irreducible part of all ladders.
const IRREDUCIBLE: f64 = 4.0;

/// What came of many ladders.
#[derive(Default, Debug)]
struct Count {
    /// Those that have an exponent.
    laws: usize,
    covered: usize,
    /// Those whose interval of the irreducible part has the truth.
    irreducible: usize,
    determined: usize,
}

/// Whether an interval, whose ends may be missing, has `truth`.
fn contains([low, high]: [Option<f64>; 2], truth: f64) -> bool {
    low.is_none_or(|low| low <= truth) && high.is_none_or(|high| truth <= high)
}

impl Count {
    fn add(&mut self, law: &FittedLaw, alpha: f64) {
        let Some(c) = law.coefficients else { return };
        self.laws += 1;
        self.covered += usize::from(contains([c.alpha.low, c.alpha.high], alpha));
        self.irreducible += usize::from(contains([c.irreducible.low, c.irreducible.high], IRREDUCIBLE));
        self.determined += usize::from(law.status == Status::Determined);
    }

    fn share(&self) -> f64 {
        self.covered as f64 / self.laws as f64
    }
}

/// Laws of seven sizes from 0.04 to 10 million parameters, `α` −0.3, a slope of 0.13 nats per decade.
fn by_size(mode: Mode, seeds: u64, seed_noise: f64, size_noise: f64) -> Count {
    let truth = |n: f64| 4.0 + 0.5 * (n / 4e4).powf(-0.3);
    let noise = Stream::new("coverage", seeds);
    let mut count = Count::default();
    for ladder in 0..LADDERS {
        let draw = noise.at(ladder);
        let points = (0..7_u64).flat_map(|i| {
            let n = 4e4 * 250_f64.powf(i as f64 / 6.0);
            let off = size_noise * draw.normal(1000 + i);
            (0..seeds).map(move |seed| (i, n, off, seed))
        });
        let points = points
            .map(|(i, n, off, seed)| Point {
                run: format!("{i}-{seed}"),
                size: format!("{i}"),
                x: n / 1e9,
                y: truth(n) + off + seed_noise * draw.normal(10 * i + seed),
            })
            .collect();
        let subject = Subject {
            name: "L_all(N)".into(),
            quantity: "loss".into(),
            variable: "N".into(),
            unit: "billions".into(),
        };
        count.add(&FittedLaw::fit(subject, points, mode, 0.95, None), -0.3);
    }
    count
}

#[test]
fn intervals_of_the_exponent_cover_the_truth_as_often_as_they_say() {
    for (seeds, seed_noise, size_noise) in [(1, 0.003, 0.0), (3, 0.003, 0.0), (3, 0.003, 0.01)] {
        for mode in [Mode::Fitted, Mode::Given(4.0)] {
            let found = by_size(mode, seeds, seed_noise, size_noise);
            let share = found.share();
            println!("{seeds} seeds, {seed_noise} {size_noise} {mode:?}: {share} {found:?}");
            assert!(found.laws as u64 > LADDERS * 9 / 10, "{found:?}");
            assert!((0.92..=0.98).contains(&share), "{seeds} seeds, {size_noise} {mode:?}: {found:?}");
            let share = found.irreducible as f64 / found.laws as f64;
            assert!(
                (0.92..=0.98).contains(&share) || mode != Mode::Fitted,
                "irreducible part, {seeds} seeds, {size_noise}: {found:?}"
            );
        }
    }
}

/// Trainings of seven sizes, of one length or of six, under a law of parameters and tokens, and the truth for a size four
/// times as large as the largest, with a training of it.
fn ladder(ladder: u64, lengths: u64, seeds: u64, size_noise: f64) -> (Results, f64, f64) {
    let draw = Stream::new("coverage of forecasts", 10 * lengths + seeds).at(ladder);
    let truth = |n: f64, d: f64| IRREDUCIBLE + 0.5 * (n / 4e4).powf(-0.3) + 0.4 * (d / 5e5).powf(-0.35);
    let mut lines = Vec::new();
    for i in 0..7_u64 {
        let n = 4e4 * 250_f64.powf(i as f64 / 6.0);
        for length in 0..lengths {
            let d = 5e5 * 2_f64.powi(length as i32);
            let off = size_noise * draw.normal(10_000 + 100 * i + length);
            for seed in 0..seeds {
                let loss = truth(n, d) + off + 0.003 * draw.normal(1000 * i + 100 * length + seed);
                let name = format!("{i}-{length}-{seed}");
                let line = serde_json::json!({
                    "name": name, "depth": i + 1, "width": 32, "params": n as u64, "steps": 1000,
                    "tokens": d as u64, "flops": 6.0 * n * d, "val_loss_all": loss, "val_loss_last": loss,
                    "val_err_all": 0.9, "val_err_last": 0.9, "seconds": 1.0, "seed": seed, "run": "",
                });
                lines.push(serde_json::from_value::<ResultLine>(line).unwrap());
            }
        }
    }
    let there = truth(4e7, 5e5);
    let trained = there + size_noise * draw.normal(20_000) + 0.003 * draw.normal(20_001);
    (Results { lines, ..Results::default() }, there, trained)
}

#[test]
fn intervals_of_forecasts_cover_the_law_and_new_trainings_as_often_as_they_say() {
    for (lengths, seeds, size_noise) in [(1, 1, 0.0), (1, 3, 0.0), (1, 3, 0.01), (6, 1, 0.0), (6, 1, 0.005)] {
        let (mut given, mut law, mut training) = (0, 0, 0);
        for i in 0..LADDERS {
            let (results, there, trained) = ladder(i, lengths, seeds, size_noise);
            let request = ForecastRequest {
                parameters: Some(4e7),
                tokens: (lengths > 1).then_some(5e5),
                ..ForecastRequest::default()
            };
            let found = forecast(&results, Metric::LossAll, &FitOptions::default(), &request).unwrap();
            if found.law["status"] == "at_bound" {
                continue;
            }
            given += 1;
            law += usize::from(contains(found.of_law, there));
            training += usize::from(contains(found.of_training, trained));
        }
        let share = |count: usize| count as f64 / given as f64;
        println!(
            "{lengths} lengths, {seeds} seeds, {size_noise}: {given}, {} {}",
            share(law),
            share(training)
        );
        assert!(given as u64 > LADDERS * 9 / 10, "{given}");
        for count in [law, training] {
            assert!(
                (0.92..=0.98).contains(&share(count)),
                "{lengths} {seeds} {size_noise}: {count} of {given}"
            );
        }
    }
}

#[test]
fn sizes_that_scatter_are_seldom_called_determined_and_sizes_that_do_not_mostly_are() {
    let clean = by_size(Mode::Fitted, 3, 0.003, 0.0);
    assert!(clean.determined > clean.laws * 8 / 10, "{clean:?}");
    let scattered = by_size(Mode::Fitted, 3, 0.003, 0.01);
    assert!(scattered.determined < scattered.laws / 10, "{scattered:?}");
}

/// A sweep of seven sizes whose runs are high or low as a whole, validated twenty times each, under a law of
/// parameters and tokens whose frontier falls with the exponent −0.15.
fn sweep(ladder: u64, seeds: u64) -> Results {
    let draw = Stream::new("coverage of compute", seeds).at(ladder);
    let loss = |n: f64, d: f64| 4.0 + 1.2 * (n / 1e5).powf(-0.3) + 1.2 * (d / 1e6).powf(-0.3);
    let (mut lines, mut curves) = (Vec::new(), BTreeMap::new());
    for i in 0..7_u64 {
        let n = 4e4 * 250_f64.powf(i as f64 / 6.0);
        // Tokens rise with the parameters, so that every size has its part of the frontier.
        let tokens = 1e6 * n / 4e4;
        for seed in 0..seeds {
            let name = format!("{i}-{seed}");
            let off = 0.005 * draw.normal(10 * i + seed);
            let value = |step: u64| loss(n, tokens * step as f64 / 1000.0) + off;
            let point = |step: u64| CurvePoint {
                step,
                train_loss: None,
                validation: Some(ModelScores {
                    loss_all: value(step),
                    loss_last: value(step),
                    err_all: 0.9,
                    err_last: 0.9,
                    ..ModelScores::default()
                }),
            };
            curves.insert(name.clone(), (1..=20).map(|k| point(50 * k)).collect());
            let line = serde_json::json!({
                "name": name, "depth": i + 1, "width": 32, "params": n as u64, "steps": 1000,
                "tokens": tokens as u64, "flops": 6.0 * n * tokens, "val_loss_all": value(1000),
                "val_loss_last": value(1000), "val_err_all": 0.9, "val_err_last": 0.9, "seconds": 1.0,
                "seed": seed, "run": "", "precision": "f32", "plan": "",
            });
            lines.push(serde_json::from_value::<ResultLine>(line).unwrap());
        }
    }
    Results { lines, curves, ..Results::default() }
}

#[test]
fn intervals_along_the_frontier_count_runs_not_validations() {
    let mut sizes = 0;
    for seeds in [1, 3] {
        let mut count = Count::default();
        for ladder in 0..LADDERS {
            let fits = FitsFile::new(&sweep(ladder, seeds), &FitOptions::default());
            let law = fits.law("L_all(C)").unwrap();
            sizes += law.sizes;
            let rows = law.points.len();
            assert!(rows <= law.sizes * seeds as usize, "one point per run: {rows} of {} sizes", law.sizes);
            count.add(law, -0.15);
        }
        println!("{seeds} seeds: {} {count:?}", count.share());
        assert!(count.laws > 200, "{count:?}");
        assert!(count.share() >= 0.9, "{seeds} seeds: {count:?}");
    }
    assert!(sizes as u64 > 10 * LADDERS, "most sizes reach the frontier: {sizes}");
}
