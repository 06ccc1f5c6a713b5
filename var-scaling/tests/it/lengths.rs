//! Trainings of several lengths: their sweep, their law of parameters and tokens, and forecasts.

use predicates::str::contains;
use var_scaling::fit::{FitOptions, FitsFile};
use var_scaling::result_line::ResultLine;
use var_scaling::results::Results;
use var_tokenizer::random::Stream;

use crate::fake::Fake;

#[test]
fn a_preset_with_lengths_trains_each_and_the_page_has_the_law_of_parameters_and_tokens() {
    let fake = Fake::new();
    let preset = include_str!("../../presets/emoji-nano.toml").replace(
        "sizes = [\"nano\"]",
        "sizes = [\"nano\"]\n[[ladder.lengths]]\nsizes = [\"1x32\", \"2x64\", \"3x96\"]\nsteps = [10, 40]",
    );
    std::fs::write(fake.path("mine.toml"), preset).unwrap();
    fake.sweep(&["--preset", "mine.toml", "--set", "steps=20"])
        .assert()
        .success()
        .stdout(contains("L_all(N, D)"));
    let results = fake.results();
    assert_eq!(results.len(), 6 + 3 * 2);
    assert!(results.iter().any(|line| line["name"] == "2x64-40steps" && line["steps"] == 40));
    let page = std::fs::read_to_string(fake.out().join("report.html")).unwrap();
    assert!(page.contains("Laws of parameters and tokens") && page.contains(" to 4.00k tokens each"));
    assert!(fake.out().join("plots/loss-lengths-all.svg").is_file());
    // The same again trains nothing.
    let before = fake.calls().len();
    fake.sweep(&["--preset", "mine.toml", "--set", "steps=20"]).assert().success();
    assert!(!fake.calls()[before..].iter().any(|call| call.starts_with("train")));
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

    // Each size with a length of its own, as the published ones.
    let own = [(43_000, 520_000), (201_000, 1_040_000), (586_000, 1_040_000), (1_310_000, 4_160_000)];
    let own = Results { lines: own.map(|(n, d)| trained(n, d, 0.0)).into(), ..Results::default() };
    let fits = FitsFile::new(&own, &FitOptions::default());
    assert!(fits.joint.is_empty() && fits.law("L_all(N)").unwrap().points.len() == 4);
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
