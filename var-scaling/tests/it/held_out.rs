//! Held-out sizes: forecast from the others, written down, then trained and compared.

use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

use crate::fake::{COLUMNS, Fake, names};

const SIZES: &str = "1x32,2x64,3x96,4x128,5x160";

fn forecasts(fake: &Fake) -> Value {
    serde_json::from_str(&std::fs::read_to_string(fake.out().join("forecasts.json")).unwrap()).unwrap()
}

#[test]
fn a_held_out_size_is_forecast_before_its_training_and_no_law_is_fitted_to_it() {
    let fake = Fake::new();
    fake.mark("slow-8x256");
    let mut child = fake.spawn(&["--sizes", SIZES, "--held-out", "8x256"]);
    fake.wait_for("started-8x256", &mut child);
    let before = forecasts(&fake);
    let forecast = &before["sizes"][0]["forecasts"][0];
    assert_eq!(before["sizes"][0]["name"], "8x256");
    assert_eq!((&forecast["metric"], &forecast["runs"]), (&"loss_all".into(), &5.into()));
    fake.unmark("slow-8x256");
    assert!(child.wait_with_output().unwrap().status.success());
    let last = fake.results().pop().unwrap();
    assert_eq!((&last["name"], &last["held_out"]), (&"8x256".into(), &true.into()));
    // The stand-in has an exact law of its parameters; the forecast is for those of the plan.
    let parameters = before["sizes"][0]["parameters"].as_f64().unwrap();
    let (loss, law) = (forecast["loss"].as_f64().unwrap(), 4.0 + 30.0 * parameters.powf(-0.3));
    assert!((loss - law).abs() < 1e-3, "{loss} {law}");
    assert!(fake.fits()["laws"][0]["points"].as_array().unwrap().iter().all(|p| p["run"] != "8x256"));
    let page = std::fs::read_to_string(fake.out().join("report.html")).unwrap();
    for row in [
        "How the laws were fitted",
        "held out: 8x256",
        "loss_all of 8x256 by the law of N: ",
        "not known: each size was trained once",
    ] {
        assert!(page.contains(row), "{row}");
    }
    assert!(page.contains("Forecast before the training") && page.contains("Samples of 8x256"));
    assert!(!page.contains("Started but not finished"));
    // A later call changes nothing.
    fake.sweep(&["--sizes", SIZES, "--held-out", "8x256"])
        .assert()
        .success()
        .stdout(contains("8x256: forecast loss_all"));
    assert_eq!(forecasts(&fake), before);
}

#[test]
fn a_held_out_size_waits_until_all_others_are_finished() {
    let fake = Fake::new();
    fake.mark("fail-3x96");
    let arguments = ["--sizes", SIZES, "--held-out", "8x256", "--jobs", "2"];
    fake.sweep(&arguments)
        .assert()
        .code(1)
        .stdout(contains("8x256 waits").and(contains("did not finish: 3x96")));
    assert!(fake.trained("8x256").is_empty());
    fake.unmark("fail-3x96");
    fake.sweep(&arguments).assert().success();
    assert_eq!(names(&fake.results()).len(), 6);
    assert_eq!(fake.trained("8x256").len(), 1);
}

#[test]
fn held_out_rows_of_a_table_are_left_out_of_its_laws() {
    let fake = Fake::new();
    fake.sweep(&["--sizes", "1x32,2x64,3x96,4x128", "--held-out", "5x160"]).assert().success();
    let table = fake.table(&[&COLUMNS[..], &["held_out"]].concat());
    let mut forecast = fake.program();
    forecast.arg("forecast").arg(table).args(["--params", "1e7"]);
    forecast.assert().success().stdout(contains("of 4 trainings"));
}

#[test]
fn a_size_that_was_trained_first_gets_no_forecast_and_the_warning_says_so() {
    let fake = Fake::new();
    // A held-out size validates at its end only.
    let settings = ["--set", "validate_every=10", "--sizes"];
    fake.sweep(&settings).arg("1x32,2x64,3x96,4x128,8x256").assert().success();
    fake.sweep(&settings)
        .args(["1x32,2x64,3x96,4x128", "--held-out", "8x256"])
        .assert()
        .success()
        .stdout(contains("8x256: no forecast, because it was trained before it was held out"));
    assert!(!fake.out().join("forecasts.json").exists());
}
