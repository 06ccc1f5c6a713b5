//! `var-model check-device` on a processor.

use std::path::{Path, PathBuf};

use assert_cmd::Command;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::Value;

fn cases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../var-tokenizer/tests/golden")
}

fn check(golden: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("var-model").unwrap();
    command.arg("check-device").args(["--device", "cpu", "--golden"]).arg(golden).args(arguments);
    command
}

fn rows(path: &Path) -> Vec<Value> {
    let report: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    report["rows"].as_array().unwrap().clone()
}

#[test]
fn a_failed_step_is_told_and_the_others_still_run() {
    let place = tempfile::tempdir().unwrap();
    let (damaged, out) = (place.path().join("tiny"), place.path().join("device.json"));
    std::fs::create_dir(&damaged).unwrap();
    let original = cases().join("tiny_vae");
    let manifest = std::fs::read_to_string(original.join("manifest.json")).unwrap();
    let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
    let seed = manifest["seed"].as_u64().unwrap();
    // The weights of another seed give other numbers.
    manifest["seed"] = (seed + 7).into();
    std::fs::write(damaged.join("manifest.json"), manifest.to_string()).unwrap();
    std::fs::copy(original.join("expected.safetensors"), damaged.join("expected.safetensors")).unwrap();
    check(place.path(), &["--json", out.to_str().unwrap()])
        .assert()
        .code(1)
        .stdout(contains("FAILED  golden cases").and(contains("checks failed; the first: ")))
        .stderr(contains("error: a step failed"));
    let rows = rows(&out);
    assert_eq!(rows[0]["passed"], false);
    for name in
        ["losses in 16 bits", "products in bf16", "training step of d1, 1 image", "sampling of d1, 1 image"]
    {
        let row = rows.iter().find(|row| row["step"] == name).unwrap();
        assert_eq!(row["passed"], true, "{row}");
        assert!(row["numbers"].as_object().unwrap().values().all(Value::is_number), "{row}");
    }
}

#[test]
fn when_the_time_is_up_no_step_starts_and_the_table_says_so() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("device.json");
    check(&cases().join("tiny_vae"), &["--minutes", "0", "--json", out.to_str().unwrap()])
        .assert()
        .success()
        .stdout(contains("-       golden cases").and(contains("not run: the time is up")));
    assert!(rows(&out).iter().all(|row| row["passed"].is_null()));
}

#[test]
fn bad_input_is_refused_in_a_line() {
    for (arguments, part) in
        [(["--minutes", "-1"], "--minutes -1"), (["--device", "gpu"], "auto, cpu, cuda or cuda:N")]
    {
        let mut command = Command::cargo_bin("var-model").unwrap();
        command.arg("check-device").args(arguments).assert().code(2).stderr(contains(part));
    }
}
