//! Runs of other places as a table: metrics of var-train, exports of TensorBoard and of Weights & Biases.

use std::path::Path;

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn fit(folder: &Path, arguments: &[&str]) -> assert_cmd::assert::Assert {
    Command::cargo_bin("var-scaling").unwrap().arg("fit").args(arguments).current_dir(folder).assert()
}

fn law(n: f64, d: f64) -> f64 {
    3.0 + 20.0 * n.powf(-0.3) + 30.0 * d.powf(-0.35)
}

fn fits(folder: &Path, out: &str) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join(out).join("fits.json")).unwrap()).unwrap()
}

/// Run folders of var-train with exact losses: sizes by lengths.
fn run_folders(folder: &Path) {
    for (i, n) in [4e4, 2e5, 6e5, 1.3e6, 2.5e6].into_iter().enumerate() {
        for steps in [100_u64, 400, 1600] {
            let run = folder.join(format!("runs/{i}-{steps}"));
            std::fs::create_dir_all(&run).unwrap();
            let line = |step: u64| {
                let (d, loss) = (step * 1000, law(n, step as f64 * 1000.0));
                format!(
                    "{{\"kind\":\"val\",\"step\":{step},\"loss_all\":{loss},\"loss_last\":{loss},\"err_all\":0.9,\"err_last\":0.9,\"tokens\":{d}}}\n"
                )
            };
            std::fs::write(run.join("metrics.jsonl"), line(steps / 2) + &line(steps)).unwrap();
            let result = serde_json::json!({
                "event": "done", "parameters": n as u64, "tokens": steps * 1000, "flops": 6.0 * n * steps as f64 * 1e3,
                "val_loss_all": 1.0, "val_loss_last": 1.0, "val_err_all": 0.9, "val_err_last": 0.9, "seconds": 1.0,
                "depth": i + 1, "width": 32,
            });
            std::fs::write(run.join("result.json"), result.to_string()).unwrap();
        }
    }
}

#[test]
fn run_folders_of_var_train_give_their_law_by_last_validations_and_their_frontier_by_all() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    run_folders(folder);
    let files: Vec<String> = std::fs::read_dir(folder.join("runs"))
        .unwrap()
        .map(|entry| format!("runs/{}/metrics.jsonl", entry.unwrap().file_name().display()))
        .collect();
    let files: Vec<&str> = files.iter().map(String::as_str).collect();
    let joint =
        [&["--law", "joint", "--objective", "squares", "--out", "joint", "--import"][..], &files].concat();
    fit(folder, &joint).success().stdout(contains("joint: determined"));
    // Nothing but the file is printed.
    let json = fit(folder, &[&["--json"][..], &joint].concat()).success().get_output().stdout.clone();
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap()["version"], 2);
    let alpha = &fits(folder, "joint")["laws"][0]["coefficients"]["alpha"]["value"];
    assert!((alpha.as_f64().unwrap() - 0.3).abs() < 1e-3, "{alpha}");
    assert_eq!(fits(folder, "joint")["table"]["used"], 15);
    let frontier = [&["--law", "frontier", "--out", "frontier", "--import"][..], &files].concat();
    fit(folder, &frontier).success();
    assert_eq!(fits(folder, "frontier")["table"]["used"], 30);
    // A run that has not finished is named.
    std::fs::remove_file(folder.join("runs/0-100/result.json")).unwrap();
    fit(folder, &joint)
        .success()
        .stderr(contains("0-100: its parameters").and(contains("result.json is missing")));
}

#[test]
fn exports_need_a_table_of_their_runs_and_ranges_are_no_runs() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let runs = [("a", 4e4), ("b", 2e5), ("c", 6e5), ("d", 1.3e6), ("e", 2.5e6)];
    let facts: String = runs.iter().map(|(run, n)| format!("{run},{n},1000\n")).collect();
    std::fs::write(folder.join("runs.csv"), format!("run,n,tokens_per_step\n{facts}")).unwrap();
    let loss = |n: f64| 3.0 + 20.0 * n.powf(-0.3);
    // TensorBoard: a file for each run.
    for (run, n) in runs {
        let text = format!("Wall time,Step,Value\n1.5,50,9.0\n2.5,100,{}\n", loss(n));
        std::fs::write(folder.join(format!("{run}.csv")), text).unwrap();
    }
    let files = ["a.csv", "b.csv", "c.csv", "d.csv", "e.csv"];
    let board = [&["--runs", "runs.csv", "--out", "board", "--import"][..], &files].concat();
    fit(folder, &board).success().stdout(contains("power: determined").and(contains("alpha  0.3000")));
    // Weights & Biases: a column for each run.
    let names =
        |metric: &str| runs.map(|(run, _)| format!("{run} - {metric},{run} - {metric}__MIN")).join(",");
    let cells = runs.map(|(_, n)| format!("{},1.0", loss(n))).join(",");
    std::fs::write(folder.join("wandb.csv"), format!("Step,{}\n100,{cells}\n200,\n", names("val"))).unwrap();
    fit(folder, &["--import", "wandb.csv", "--runs", "runs.csv", "--out", "bias"])
        .success()
        .stdout(contains("alpha  0.3000"));
    fit(folder, &["--import", "wandb.csv"]).code(2).stderr(contains("add it to the table of runs"));
    fit(folder, &["--import", "wandb.csv", "--metric", "err"])
        .code(2)
        .stderr(contains("no losses of this name"));
    let several = format!("Step,{},{}\n", names("val"), names("train"));
    std::fs::write(folder.join("several.csv"), several).unwrap();
    fit(folder, &["--import", "several.csv"]).code(2).stderr(contains("several metrics (train, val)"));
    fit(folder, &["--import", "runs.csv"]).code(2).stderr(contains("no column Step"));
    fit(folder, &["--import", "a.csv", "--runs", "a.csv"]).code(2).stderr(contains("tokens_per_step"));
}
