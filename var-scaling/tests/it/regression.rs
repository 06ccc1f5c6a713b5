//! Laws of tables: golden cases, other layouts of a table, bad input.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use clap::ValueEnum;
use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;
use serde_json::Value;
use var_scaling::regression::{FitRequest, Interval, Law, Role, Unit, Variable, fit_table};

/// The published cases: tables, and what a correct fit of them is.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/scaling")
}

fn manifest() -> Vec<Value> {
    let text = std::fs::read_to_string(folder().join("manifest.json")).unwrap();
    let manifest: Value = serde_json::from_str(&text).unwrap();
    manifest["cases"].as_array().unwrap().clone()
}

fn request(case: &Value) -> FitRequest {
    let (options, expected) = (&case["options"], &case["expected"]);
    let objective = options["objective"].as_str().map(|name| match name {
        "log_squares" => "log-squares".to_owned(),
        "loglog_squares" => "loglog".to_owned(),
        "huber" => format!("huber={}", options["delta"]),
        name => name.to_owned(),
    });
    let variable = options["variable"].as_str().unwrap_or("n");
    let role = |name: &str| Role::from_str(if name == "x" { variable } else { name }, false).unwrap();
    let at = expected["predictions"].as_array().into_iter().flatten().map(|one| {
        let names = ["x", "n", "d", "unique"].into_iter();
        names.filter_map(|name| Some((role(name), one[name].as_f64()?))).collect()
    });
    let numbers = |value: &Value, key: &str| -> Vec<f64> {
        value.as_array().into_iter().flatten().filter_map(|one| one[key].as_f64()).collect()
    };
    let pairs = |value: &Value| value.as_object().cloned().unwrap_or_default();
    let columns = pairs(&case["columns"]).into_iter();
    let coefficients = pairs(&options["coefficients"]).into_iter();
    FitRequest {
        table: Some(folder().join(case["csv"].as_str().unwrap())),
        columns: columns.map(|(k, v)| (role(&k), v.as_str().unwrap().to_owned())).collect(),
        law: Law::from_str(case["law"].as_str().unwrap(), false).unwrap(),
        given: options["irreducible"].as_f64(),
        objective: objective.map(|text| text.parse().unwrap()),
        at: at.collect(),
        compute: match case["law"].as_str() {
            Some("joint") => numbers(&expected["optimal"]["points"], "C"),
            // The table has the budgets.
            _ => Vec::new(),
        },
        targets: numbers(&expected["compute_for"], "target"),
        coefficients: coefficients.map(|(k, v)| (k, v.as_f64().unwrap())).collect(),
        variable: Variable::from_str(variable, false).unwrap(),
        ..FitRequest::default()
    }
}

/// What of `law` differs from `expected`.
fn differences(law: &Value, expected: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut near = |name: String, value: &Value, want: f64, tolerance: f64| {
        if !value.as_f64().is_some_and(|v| (v - want).abs() <= tolerance) {
            found.push(format!("{name} {value}, expected {want} ± {tolerance}"));
        }
    };
    let wanted = match &expected["coefficients"] {
        Value::Null => &expected["law"]["coefficients"],
        some => some,
    };
    let absent = expected["coefficients_may_be_absent"] == true && law["coefficients"].is_null();
    for (name, want) in wanted.as_object().into_iter().flatten().filter(|_| !absent) {
        let (value, tolerance) = (want["value"].as_f64().unwrap(), want["tolerance"].as_f64().unwrap());
        near(name.clone(), &law["coefficients"][name]["value"], value, tolerance);
    }
    for (i, want) in expected["predictions"].as_array().into_iter().flatten().enumerate() {
        let (value, tolerance) = (want["loss"].as_f64().unwrap(), want["tolerance"].as_f64().unwrap());
        near(format!("prediction {i}"), &law["predictions"][i]["loss"], value, tolerance);
    }
    for key in ["alpha", "ln_beta"] {
        if let Some(want) = expected["published"][key].as_f64() {
            near(format!("published {key}"), &law["published"][key], want, (want.abs() * 1e-4).max(1e-4));
        }
    }
    if let Some(want) = expected["objective"]["sum"].as_f64() {
        let factor = expected["objective"]["at_most_factor"].as_f64().unwrap();
        near("objective".into(), &law["objective"]["sum"], want, want * (factor - 1.0) + 1e-15);
    }
    if let Some(want) = expected["seeds"]["lack_of_fit"]["F"].as_f64() {
        near("F".into(), &law["residuals"]["lack_of_fit"]["F"], want, 1e-3 * want);
    }
    for (i, want) in expected["optimal"]["points"].as_array().into_iter().flatten().enumerate() {
        for key in ["N", "D", "loss"] {
            let (value, share) =
                (want[key].as_f64().unwrap(), expected["optimal"]["tolerance_relative"].as_f64().unwrap());
            near(format!("optimal {key}"), &law["optimal"]["points"][i][key], value, 10.0 * share * value);
        }
    }
    for (i, want) in expected["compute_for"].as_array().into_iter().flatten().enumerate() {
        let value = &law["optimal"]["compute_for"][i]["C"];
        match want["C"].as_f64() {
            Some(c) => near("compute for a loss".into(), value, c, 1e-9 * c),
            None => assert!(value.is_null(), "a loss below E is reachable"),
        }
    }
    for key in ["n_opt", "d_opt"] {
        if let Some(want) = expected[key]["exponent"].as_f64() {
            near(key.into(), &law[key]["exponent"], want, 1e-6);
        }
    }
    if let Some(want) = expected["envelope"]["n_opt"]["exponent"].as_f64() {
        near("envelope".into(), &law["envelope"]["n_opt"]["exponent"], want, 1e-6);
    }
    let lines = |value: &Value| -> Vec<i64> {
        value
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["line"].as_i64().or(one.as_i64()))
            .collect()
    };
    for (key, ours) in [("frontier", "frontier"), ("contested", "contested"), ("outlier_rows", "outliers")] {
        if !expected[key].is_null() && lines(&expected[key]) != lines(&law[ours]) {
            found.push(format!("{key} {:?}", lines(&law[ours])));
        }
    }
    let excluded = |value: &Value| -> Vec<Value> {
        value.as_array().into_iter().flatten().map(|one| one["excluded"].clone()).collect()
    };
    if excluded(&expected["budgets"]) != excluded(&law["budgets"]) {
        found.push(format!("budgets {}", law["budgets"]));
    }
    let runs = |value: &Value| -> Vec<(Value, i64)> {
        let all = value.as_array().into_iter().flatten();
        all.map(|one| (one["run"].clone(), one["best_step"].as_f64().unwrap_or(-1.0) as i64)).collect()
    };
    if !expected["overfitted"].is_null() && runs(&expected["overfitted"]) != runs(&law["overfitted"]) {
        found.push(format!("over-fitted {}", law["overfitted"]));
    }
    let status = law["status"].clone();
    let any = expected["status_any_of"].as_array().cloned();
    if any.is_some_and(|any| !any.contains(&status))
        || (expected["status"].is_string() && expected["status"] != status)
    {
        found.push(format!("status {status}"));
    }
    if expected["bound"].is_string() && expected["bound"] != law["bound"] {
        found.push(format!("bound {}", law["bound"]));
    }
    for name in expected["unidentified"].as_array().into_iter().flatten() {
        if !law["unidentified"].as_array().is_some_and(|all| all.contains(name)) {
            found.push(format!("{name} counts as identified"));
        }
    }
    found
}

#[test]
fn golden_tables_give_the_golden_laws() {
    let out = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for case in manifest().iter().filter(|case| case["expected"]["error"].is_null()) {
        let file = fit_table(&request(case), out.path()).unwrap();
        let found = differences(&file["laws"][0], &case["expected"]);
        assert!(found.is_empty(), "{}: {found:?}", case["name"]);
        if let Some(lines) = case["expected"]["dropped_lines"].as_array() {
            let dropped: Vec<&Value> =
                file["table"]["dropped"].as_array().unwrap().iter().map(|d| &d["line"]).collect();
            assert_eq!(dropped, lines.iter().collect::<Vec<_>>());
        }
        checked += 1;
    }
    assert_eq!(checked, 43);
}

#[test]
fn intervals_equal_an_independent_implementation() {
    let out = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for case in manifest() {
        for (name, interval, unit) in [
            ("hessian", Interval::Hessian, Unit::Row),
            ("profile", Interval::Profile, Unit::Row),
            ("profile_of_size_means", Interval::Profile, Unit::Size),
        ] {
            let Some(expected) = case["expected"]["intervals"][name].as_object() else { continue };
            let request = FitRequest { interval, unit, ..request(&case) };
            let file = fit_table(&request, out.path()).unwrap();
            for (coefficient, want) in expected.iter().filter(|(key, _)| !matches!(key.as_str(), "A" | "B")) {
                let found = &file["laws"][0]["coefficients"][coefficient];
                let ends = ["low", "high"].map(|end| (want[end].as_f64(), found[end].as_f64()));
                let width = match (want["low"].as_f64(), want["high"].as_f64()) {
                    (Some(low), Some(high)) => high - low,
                    _ => 1.0,
                };
                let tolerance = want["tolerance"].as_f64().unwrap_or(0.01 * width) + 1e-9;
                for (want, found) in ends {
                    let same = match (want, found) {
                        (Some(want), Some(found)) => (want - found).abs() <= tolerance,
                        (want, found) => want == found,
                    };
                    assert!(same, "{} {name} {coefficient}: {found:?}, expected {want:?}", case["name"]);
                }
                checked += 1;
            }
        }
    }
    assert!(checked >= 20, "{checked}");
}

fn fit() -> Command {
    let mut command = Command::cargo_bin("var-scaling").unwrap();
    command.arg("fit");
    command
}

#[test]
fn a_table_of_a_spreadsheet_is_read_and_bad_rows_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("runs.csv");
    let rows: String = (0..8)
        .map(|i| {
            let n = 40_000.0 * 3_f64.powi(i);
            let loss = format!("{:.9}", 2.0 + 30.0 * n.powf(-0.3)).replace('.', ",");
            format!("{n:.0};{loss}\r\n")
        })
        .collect();
    std::fs::write(&table, format!("\u{feff}size;loss\r\n{rows}nonsense;3,1\r\n")).unwrap();
    let mut command = fit();
    command
        .arg("--csv")
        .arg(&table)
        .args(["--columns", "n=size,loss=loss", "--at", "n=1e9", "--out"])
        .arg(folder.path());
    let determined = contains("power: determined").and(contains("alpha  0.30000"));
    command.assert().success().stdout(determined).stderr(contains("line 10 left out: size is nonsense"));
    let file: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("fits.json")).unwrap()).unwrap();
    assert_eq!((&file["table"]["used"], file["table"]["sha256"].as_str().unwrap().len()), (&8.into(), 64));
    let forecast = &file["laws"][0]["predictions"][0];
    let (low, high) = (forecast["low"].as_f64().unwrap(), forecast["high"].as_f64().unwrap());
    let exact = 2.0 + 30.0 * 1e9_f64.powf(-0.3);
    assert!(low <= exact + 1e-6 && exact - 1e-6 <= high && high - low < 1e-4, "{low} {exact} {high}");
}

#[test]
fn bad_requests_are_one_clear_line_and_status_2() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("runs.csv");
    std::fs::write(&table, "params,valloss\n1,2\n").unwrap();
    let columns = ["--columns", "n=params,loss=valloss"];
    for (arguments, words) in [
        (
            &["--columns", "n=params,loss=val_loss"][..],
            "has no column val_loss (for loss); its columns are params, valloss",
        ),
        (&["--columns", "n=params"], "needs the column of loss"),
        (&["--columns", "x=params"], "x: expected one of n, d, c"),
        (&["--law", "cubic"], "possible values: power"),
        (&["--objective", "huber=no"], "huber=DELTA"),
        (&["--objective", "loglog"], "needs the law power or error"),
        (&["--level", "2"], "level 2"),
        (&["--draws", "5"], "are for --interval bootstrap"),
        (&["--grid", "1"], "expected 1 to 1000000 and 2 to 1000"),
        (&["--at", "d=2"], "is evaluated at n=NUMBER"),
        (&["--law", "isoflop", "--at", "n=2"], "leave --at out"),
        (&["--compute", "1e9"], "does not split compute"),
        (&["--coefficients", "E=1"], "are for the law optimal"),
        (&["--law", "optimal"], "needs the coefficient E"),
    ] {
        let mut command = fit();
        command.arg("--csv").arg(&table).arg("--out").arg(folder.path()).args(arguments);
        if !arguments.contains(&"--columns") {
            command.args(columns);
        }
        command.assert().code(2).stderr(contains(words));
        assert!(!folder.path().join("fits.json").exists());
    }
    fit().assert().code(2);
    fit().args(["runs/sweep", "--law", "joint"]).assert().code(2).stderr(contains("cannot be used with"));
    let no_table = fit().args(["--coefficients", "E=1", "--law", "joint"]).assert().code(2);
    no_table.stderr(contains("are for the law optimal"));
}

#[test]
fn a_forecast_inside_the_data_has_an_interval_about_it() {
    let out = tempfile::tempdir().unwrap();
    let manifest = manifest();
    let case = manifest.iter().find(|case| case["name"] == "power_fitted_noise").unwrap();
    let at = [5e4, 1e6, 1e9].map(|n| vec![(Role::N, n)]).to_vec();
    let file = fit_table(&FitRequest { at, unit: Unit::Row, ..request(case) }, out.path()).unwrap();
    let mut widths = Vec::new();
    for one in file["laws"][0]["predictions"].as_array().unwrap() {
        let [loss, low, high] = ["loss", "low", "high"].map(|key| one[key].as_f64().unwrap());
        assert!(low < loss && loss < high && high - low < 0.03, "{one}");
        widths.push(high - low);
    }
    assert!(widths[1] < widths[2], "narrower inside the data: {widths:?}");
}

#[test]
fn with_a_given_part_the_interval_of_a_forecast_is_that_of_a_line_through_logarithms() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("runs.csv");
    let off = [0.004, -0.006, 0.003, 0.005, -0.007, 0.001, 0.0];
    let points: Vec<(f64, f64)> = off
        .iter()
        .enumerate()
        .map(|(i, off)| (10.0 + i as f64 * 0.8, 1.5 - 0.2 * (10.0 + i as f64 * 0.8) + off))
        .collect();
    let rows: String = points.iter().map(|(x, y)| format!("{},{}\n", x.exp(), 2.0 + y.exp())).collect();
    std::fs::write(&table, format!("n,loss\n{rows}")).unwrap();
    let mut command = fit();
    command.arg("--csv").arg(&table).args(["--columns", "n=n,loss=loss", "--irreducible", "2", "--at"]);
    command.arg(format!("n={}", 17_f64.exp())).arg("--out").arg(folder.path()).assert().success();
    let file: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("fits.json")).unwrap()).unwrap();
    let one = &file["laws"][0]["predictions"][0];
    // The closed form: Student's t with 5 degrees of freedom, 95%.
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let sxx: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let slope = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum::<f64>() / sxx;
    let squares: f64 = points.iter().map(|p| (p.1 - my - slope * (p.0 - mx)).powi(2)).sum();
    let half = 2.570_581_836 * (squares / (n - 2.0) * (1.0 / n + (17.0 - mx).powi(2) / sxx)).sqrt();
    let at = my + slope * (17.0 - mx);
    for (key, expected) in [("loss", at), ("low", at - half), ("high", at + half)] {
        let found = one[key].as_f64().unwrap();
        assert!((found - 2.0 - expected.exp()).abs() < 1e-6, "{key}: {found} {}", 2.0 + expected.exp());
    }
}

#[test]
fn the_best_split_needs_no_table_and_gets_a_folder_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = fit();
    command.current_dir(folder.path()).args(["--law", "optimal", "--compute", "1e20", "--coefficients"]);
    command.arg("E=1.817218,A=477.825868,alpha=0.3473105,B=2143.417363,beta=0.3671724");
    let split = contains("C 1.0000e20: N 8.5502e8").and(contains("runs/fit-optimal/fits.json"));
    command.assert().success().stdout(split);
    assert!(folder.path().join("runs/fit-optimal/fits.json").is_file());
}

#[test]
fn a_bootstrap_of_rows_has_the_golden_ends_and_the_same_ones_again() {
    for name in ["joint_noise", "joint_language"] {
        let case = manifest().into_iter().find(|case| case["name"] == name).unwrap();
        let place = tempfile::tempdir().unwrap();
        let request =
            FitRequest { interval: Interval::Bootstrap, unit: Unit::Row, draws: 400, ..request(&case) };
        let law = fit_table(&request, place.path()).unwrap()["laws"][0].clone();
        let golden = &case["expected"]["bootstrap"];
        for coefficient in ["E", "alpha", "beta"] {
            let (want, found) = (&golden[coefficient], &law["coefficients"][coefficient]);
            let number = |value: &Value, key: &str| value[key].as_f64().unwrap();
            let width = number(want, "high") - number(want, "low");
            for end in ["low", "high"] {
                // Four rows far off the law: in draws with several of them beta is anywhere, and its upper end with it.
                if (name, coefficient, end) == ("joint_language", "beta", "high") {
                    continue;
                }
                let off = (number(found, end) - number(want, end)).abs();
                assert!(
                    off <= width * number(golden, "tolerance_of_width"),
                    "{name} {coefficient} {found} {want}"
                );
            }
        }
        assert_eq!(law["bootstrap"]["draws"], 400);
        assert_eq!(fit_table(&request, place.path()).unwrap()["laws"][0], law);
        let other = FitRequest { seed: 1, ..request };
        assert_ne!(fit_table(&other, place.path()).unwrap()["laws"][0]["coefficients"], law["coefficients"]);
    }
}
