//! Comparisons: what they start, what they leave, and how they go on.

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use crate::fake::Fake;

/// `var-scaling compare --out …` with short trainings of two sizes and these arguments.
fn compare(fake: &Fake, arguments: &[&str]) -> assert_cmd::Command {
    let mut command = fake.program();
    command
        .arg("compare")
        .arg("--out")
        .arg(fake.out())
        .args(["--set", "steps=10", "-n", "90"])
        .args(arguments);
    command
}

const TWO: [&str; 2] = ["--sizes", "1x32,2x64"];

fn comparison(fake: &Fake) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fake.out().join("comparison.json")).unwrap()).unwrap()
}

fn page(fake: &Fake) -> String {
    std::fs::read_to_string(fake.out().join("report.html")).unwrap()
}

fn rows(value: &Value) -> Vec<(String, String)> {
    let text = |v: &Value| v.as_str().unwrap().to_owned();
    value["rows"].as_array().unwrap().iter().map(|row| (text(&row["arm"]), text(&row["run"]))).collect()
}

/// Calls that begin with `start` and have `part`.
fn calls(fake: &Fake, start: &str, part: &str) -> Vec<String> {
    fake.calls().into_iter().filter(|call| call.starts_with(start) && call.contains(part)).collect()
}

#[test]
fn a_comparison_trains_every_arm_scores_every_model_times_all_and_ends_with_its_report() {
    let fake = Fake::new();
    let output = compare(&fake, &TWO).assert().success().get_output().stdout.clone();
    let report = fake.out().join("report.html");
    assert_eq!(String::from_utf8(output).unwrap().lines().last().unwrap(), report.display().to_string());
    let found = comparison(&fake);
    let arms = ["next-scale", "raster", "raster-equal-compute"];
    let expected: Vec<_> =
        arms.iter().flat_map(|arm| ["1x32", "2x64"].map(|run| ((*arm).to_owned(), run.to_owned()))).collect();
    assert_eq!(rows(&found), expected);
    for (i, row) in found["rows"].as_array().unwrap().iter().enumerate() {
        // The fake times the first model at 10 images per second, the second at 20, …
        let rate = 10.0 * (i + 1) as f64;
        assert_eq!(row["seconds_per_image"]["1"], 1.0 / rate, "{row}");
        assert_eq!(row["seconds_per_image"]["8"], 1.0 / (10.0 * rate), "{row}");
        assert_eq!(
            (&row["distance"]["interval"][0], &row["distance"]["interval"][1]),
            (&39.5.into(), &55.5.into())
        );
    }
    // Fakes count their scores: reconstructions first in an arm with a tokenizer of its own.
    let distances: Vec<f64> = found["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["distance"]["value"].as_f64().unwrap())
        .collect();
    assert_eq!(distances, [41.5, 42.5, 44.5, 45.5, 46.5, 47.5]);
    let tokenizers = found["tokenizers"].as_array().unwrap();
    assert_eq!(tokenizers.len(), 2);
    assert_eq!((&tokenizers[0]["tokens"], &tokenizers[1]["tokens"]), (&130.into(), &64.into()));
    assert_eq!(tokenizers[1]["distance"]["value"], 43.5);

    assert_eq!(calls(&fake, "train tokenizer", "").len(), 2);
    assert_eq!(calls(&fake, "train model", "order=raster").len(), 4);
    assert_eq!(calls(&fake, "tokenizer encode", "/raster/tokenizer/tokenizer.safetensors").len(), 2);
    assert_eq!(calls(&fake, "eval", "--reference-split val").len(), 6);
    assert_eq!(calls(&fake, "eval", "/next-scale/tokens.h5").len(), 6, "one reference for all");
    let timed = calls(&fake, "model speed", "");
    assert_eq!((timed.len(), timed[0].matches("--also").count()), (1, 5));

    let page = page(&fake);
    for part in [
        "Comparison: raster-vs-var",
        "FD-colour-grid of raster is",
        "41.50 (39.50 to 55.50)",
        "#s/image, batch 8",
        "Losses of different tokenizers do not compare",
        "Each model was trained once",
        "next-scale/report.html",
    ] {
        let part = part.trim_start_matches('#');
        assert!(page.contains(part), "{part}");
    }
    for plot in ["distance-parameters", "distance-compute", "loss-parameters", "loss-compute"] {
        assert!(fake.out().join(format!("plots/{plot}.svg")).is_file(), "{plot}");
    }
    assert!(fake.out().join("raster/report.html").is_file());

    let before = fake.calls();
    compare(&fake, &TWO).assert().success();
    assert_eq!(fake.calls().get(before.len()..).unwrap(), [""; 0], "a second call starts nothing");
    assert_eq!(comparison(&fake)["rows"], found["rows"]);
}

#[test]
fn an_arm_that_only_samples_differently_trains_nothing() {
    let fake = Fake::new();
    compare(&fake, &["--comparison", "ablation"]).assert().success();
    assert_eq!(rows(&comparison(&fake)).len(), 7);
    assert_eq!(calls(&fake, "train model", "").len(), 5);
    assert_eq!(calls(&fake, "train tokenizer", "").len(), 2);
    assert_eq!(calls(&fake, "model speed", "").len(), 0);
    let guided = calls(&fake, "model sample", "/cfg2-k100-p0.95-n90-b200/samples.npz");
    assert!(
        guided.len() == 3 && guided[0].contains("/adaln/runs/3x96") && guided[0].contains("--cfg 2"),
        "{guided:?}"
    );
    let plain = calls(&fake, "model sample", "adaln/runs/3x96/evaluation/cfg0-k0-p0-n90-b200/samples.npz");
    assert!(plain.len() == 1 && plain[0].contains("--cfg 0") && plain[0].contains("--top-k 0"), "{plain:?}");
    assert!(!fake.out().join("guidance").exists());
    assert!(!page(&fake).contains("<h2>Plots"), "one size makes no curve");
    // Each step is compared with the one before.
    assert!(page(&fake).contains(" of guidance is ") && page(&fake).contains(" times that of top-k"));
}

#[test]
fn a_size_that_fails_is_named_and_the_rest_is_compared() {
    let fake = Fake::new();
    fake.mark("fail-2x64");
    compare(&fake, &TWO)
        .assert()
        .code(1)
        .stdout(contains("raster/2x64 failed: step 3: the loss is NaN"))
        .stderr(contains("3 of 6"));
    assert_eq!(rows(&comparison(&fake)).len(), 3);
    assert!(page(&fake).contains("Not finished: next-scale 2x64, raster 2x64, raster-equal-compute 2x64"));
    fake.unmark("fail-2x64");
    compare(&fake, &TWO).assert().success();
    assert_eq!(rows(&comparison(&fake)).len(), 6);
    assert_eq!(calls(&fake, "train model", "/runs/1x32 ").len(), 3, "what was done is not done again");
    let timed = comparison(&fake)["rows"]
        .as_array()
        .unwrap()
        .iter()
        .all(|row| row["seconds_per_image"]["1"].is_f64());
    assert!(timed, "models that came later are timed, too");
}

#[test]
fn a_score_that_fails_stops_with_its_reason_and_the_next_call_goes_on_there() {
    let fake = Fake::new();
    fake.mark("no-score");
    compare(&fake, &TWO).assert().code(2).stderr(contains("cargo xtask setup --features"));
    let first = calls(&fake, "train", "/next-scale/").len();
    assert_eq!(calls(&fake, "train", "").len(), first, "a fault is found after the first arm, not after all");
    fake.unmark("no-score");
    compare(&fake, &TWO).assert().success();
    assert_eq!(calls(&fake, "train", "/next-scale/").len(), first);
}

#[test]
fn several_seeds_have_rows_of_their_own_and_one_point_of_the_line() {
    let fake = Fake::new();
    compare(&fake, &["--sizes", "1x32,2x64", "--seeds", "2", "--json"]).assert().success();
    assert_eq!(rows(&comparison(&fake)).len(), 12);
    assert!(!page(&fake).contains("Each model was trained once"));
    let timed = calls(&fake, "model speed", "");
    assert_eq!(timed[0].matches("--also").count(), 5, "one seed of each size is timed");
}

#[test]
fn a_dry_run_names_the_arms_and_starts_nothing() {
    let fake = Fake::new();
    compare(&fake, &["--dry-run"])
        .assert()
        .success()
        .stdout(contains("next-scale: next-scale prediction").and(contains("raster-equal-compute")));
    assert!(!fake.out().exists() && fake.calls().is_empty());
    fake.program().args(["compare", "--list"]).assert().success().stdout(contains("ablation"));
}

#[test]
fn bad_input_is_refused_in_one_line_before_anything_starts() {
    let fake = Fake::new();
    std::fs::write(fake.path("mine.toml"), "about = \"x\"\nscore = 3\n").unwrap();
    for (arguments, fault) in [
        (&["--comparison", "abalation"][..], "did you mean ablation?"),
        (&["--comparison", "mine.toml"], "mine.toml"),
        (&["--comparison", "missing.toml"], "missing.toml"),
        (&["--sizes", "1x33"], "1x33"),
        (&["--data", "nowhere"], "nowhere"),
        (&["-n", "0"], "--number"),
        (&["--set", "setps=3"], "steps"),
        (
            &["--comparison", "ablation", "--set", "qk_norm=false"],
            "the arms of this comparison differ in it (arm raster)",
        ),
        (&["--comparison", "ablation", "--sizes", "1x32"], "differ in their sizes"),
        (&["--start-over", "1x32"], "expected ARM/NAME, where ARM is one of next-scale, raster"),
    ] {
        compare(&fake, arguments).assert().code(2).stderr(contains(fault));
    }
    assert!(fake.calls().is_empty());
}

#[test]
fn a_folder_of_another_comparison_or_of_other_settings_is_refused() {
    let fake = Fake::new();
    compare(&fake, &TWO).assert().success();
    let (before, calls) = (comparison(&fake), fake.calls());
    compare(&fake, &["--comparison", "ablation"])
        .assert()
        .code(2)
        .stderr(contains("this folder has the comparison raster-vs-var").and(contains("--out DIR")));
    compare(&fake, &["--sizes", "1x32,2x64", "--set", "learning_rate=0.5"]).assert().code(2);
    assert_eq!((comparison(&fake), fake.calls()), (before, calls));
}

#[test]
fn a_folder_that_was_moved_goes_on() {
    let fake = Fake::new();
    compare(&fake, &TWO).assert().success();
    let before = calls(&fake, "train", "").len();
    std::fs::rename(fake.out(), fake.path("moved")).unwrap();
    std::os::unix::fs::symlink(fake.path("moved"), fake.out()).unwrap();
    compare(&fake, &["--sizes", "1x32,2x64,3x96"]).assert().success();
    assert_eq!(calls(&fake, "train", "").len(), before + 3, "only the new size is trained");
    assert_eq!(rows(&comparison(&fake)).len(), 9);
    assert_eq!(calls(&fake, "model speed", "").len(), 2, "all models are timed in one run again");
}

#[test]
fn a_report_without_the_distance_is_not_taken_for_a_score() {
    let fake = Fake::new();
    fake.mark("no-value");
    compare(&fake, &TWO).assert().code(1).stderr(contains("the covariance is invalid"));
    fake.unmark("no-value");
    compare(&fake, &TWO).assert().success();
    assert!(
        comparison(&fake)["rows"].as_array().unwrap().iter().all(|row| row["distance"]["value"].is_f64())
    );
}

#[test]
fn an_arm_that_fails_as_a_whole_leaves_the_others() {
    let fake = Fake::new();
    fake.mark("fail-4x192");
    compare(&fake, &["--comparison", "ablation"])
        .assert()
        .code(1)
        .stdout(contains("scale-up/4x192 failed: step 3: the loss is NaN"));
    assert_eq!(rows(&comparison(&fake)).len(), 6);
    assert!(page(&fake).contains("Not finished: scale-up 4x192"));
    fake.mark("fail-1x32");
    let other = fake.path("other");
    let mut command = fake.program();
    command.args(["compare", "--sizes", "1x32", "--set", "steps=10", "--out"]).arg(other);
    command.assert().code(1).stderr(contains("every size failed: next-scale/1x32: step 3"));
}

#[test]
fn a_second_comparison_in_the_folder_is_refused_while_the_first_runs() {
    let fake = Fake::new();
    fake.mark("slow-1x32");
    let mut child = fake.spawn_command("compare", &TWO);
    fake.wait_for("started-1x32", &mut child);
    compare(&fake, &TWO).assert().code(2).stderr(contains("another comparison is running in this folder"));
    fake.unmark("slow-1x32");
    assert!(child.wait().unwrap().success());
}

#[test]
fn without_draws_and_times_the_page_speaks_of_neither() {
    let fake = Fake::new();
    let arm = |name: &str| {
        format!("[[arm]]\nname = \"{name}\"\nabout = \"{name}\"\n[arm.change.ladder]\nsizes = [\"1x32\"]\n")
    };
    let head = "about = \"x\"\n[score]\nimages = 90\nbootstrap = 0\nspeed = []\n";
    std::fs::write(fake.path("mine.toml"), format!("{head}{}{}", arm("a"), arm("b"))).unwrap();
    let report: String = std::fs::read_to_string(fake.path("metrics.json")).unwrap();
    let (start, rest) = report.split_once("\"interval\": {").unwrap();
    std::fs::write(fake.path("metrics.json"), format!("{start}{}", rest.split_once("},").unwrap().1))
        .unwrap();
    compare(&fake, &["--comparison", "mine.toml"]).assert().success();
    let page = page(&fake);
    assert!(
        page.contains("FD-colour-grid of b is 1.02 times that of a.") && !page.contains("interval"),
        "{page}"
    );
    assert!(!page.contains("Seconds per image"));
    assert!(calls(&fake, "model speed", "").is_empty());
}

#[test]
fn a_comparison_that_was_refused_before_its_first_sweep_does_not_bind_the_folder() {
    let fake = Fake::new();
    std::fs::create_dir_all(fake.out().join("next-scale")).unwrap();
    let image = fake.out().join("next-scale/cat.png");
    std::fs::write(&image, b"").unwrap();
    compare(&fake, &TWO).assert().code(2).stderr(contains("holds images, not a sweep"));
    assert!(fake.out().join("arms.json").is_file());
    std::fs::remove_file(image).unwrap();
    let other = ["--comparison", "ablation"];
    compare(&fake, &other).assert().success();
    compare(&fake, &TWO).assert().code(2).stderr(contains("this folder has the comparison ablation"));
}
