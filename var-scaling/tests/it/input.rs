//! Bad input: a clear message, exit status 2, and nothing started.

use predicates::prelude::*;
use predicates::str::contains;

use crate::fake::Fake;

#[test]
fn an_unknown_preset_lists_the_known_ones() {
    let fake = Fake::new();
    fake.sweep(&["--preset", "emojinano"]).assert().code(2).stderr(
        contains("emoji-nano")
            .and(contains("cifar-nano"))
            .and(contains("imagenet-256"))
            .and(contains("did you mean")),
    );
    assert!(fake.calls().is_empty() && !fake.out().exists());
}

#[test]
fn a_typo_in_a_preset_file_names_the_key_and_the_nearest_one() {
    let fake = Fake::new();
    let text = include_str!("../../presets/emoji-nano.toml").replace("crops = 2", "crosp = 2");
    std::fs::write(fake.path("mine.toml"), text).unwrap();
    fake.sweep(&["--preset", "mine.toml"])
        .assert()
        .code(2)
        .stderr(contains("mine.toml line").and(contains("`crosp`")).and(contains("did you mean `crops`?")));
}

#[test]
fn a_preset_file_that_is_missing_or_no_toml_is_named() {
    let fake = Fake::new();
    fake.sweep(&["--preset", "gone.toml"]).assert().code(2).stderr(contains("gone.toml"));
    std::fs::write(fake.path("broken.toml"), "about = ").unwrap();
    fake.sweep(&["--preset", "broken.toml"]).assert().code(2).stderr(contains("broken.toml line 1"));
}

#[test]
fn a_preset_file_of_ones_own_works() {
    let fake = Fake::new();
    let text = include_str!("../../presets/emoji-nano.toml").replace("[\"nano\"]", "[\"1x32\", \"d2\"]");
    std::fs::write(fake.path("mine.toml"), text).unwrap();
    fake.sweep(&["--preset", "mine.toml", "--dry-run"]).assert().success().stdout(contains("d2"));
}

#[test]
fn bad_sizes_settings_and_options_are_refused() {
    let fake = Fake::new();
    for (arguments, words) in [
        (&["--sizes", "3x97"][..], "multiple of 32"),
        (&["--sizes", "huge"], "3x96 for blocks and width"),
        (&["--sizes", ","], "no sizes named"),
        (&["--set", "steps"], "write key=value"),
        (&["--set", "batch=0"], "above zero"),
        (&["--irreducible", "loss=3"], "loss_all"),
        (&["--flops-rate", "0"], "above zero"),
        (&["--preset", "cifar-nano"], "--data"),
        (&["--tokenizer", "gone.safetensors"], "no such tokenizer"),
        (&["--tokenizer", "builtin", "--train-tokenizer"], "either"),
        (&["--seeds", "0"], "--seeds"),
    ] {
        fake.sweep(arguments).assert().code(2).stderr(contains("error:").and(contains(words)));
    }
    assert!(fake.calls().is_empty());
}

#[test]
fn missing_pictures_are_the_encoders_words_and_status_2() {
    let fake = Fake::new();
    fake.sweep(&["--data", "missing", "--tokenizer", "builtin"]).assert().code(2).stderr(
        contains("error: encoding the pictures failed: missing: no such folder").and(contains("tokens.log")),
    );
}

#[test]
fn a_missing_program_is_named_with_what_to_do() {
    let fake = Fake::new();
    std::fs::remove_file(fake.path("bin/var-train")).unwrap();
    fake.sweep(&[]).assert().code(2).stderr(contains("var-train is not in").and(contains("cargo build")));
}

#[test]
fn a_program_that_cannot_be_started_is_named() {
    let fake = Fake::new();
    std::fs::write(fake.path("bin/var-tokenizer"), "no program").unwrap();
    std::fs::set_permissions(
        fake.path("bin/var-tokenizer"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .unwrap();
    fake.sweep(&[]).assert().code(2).stderr(contains("var-tokenizer"));
}

#[test]
fn a_dry_run_prints_the_table_and_writes_nothing() {
    let fake = Fake::new();
    fake.sweep(&["--dry-run"]).assert().success().stdout(
        contains("params")
            .and(contains("tokens"))
            .and(contains("FLOPs"))
            .and(contains("memory"))
            .and(contains("4x192")),
    );
    let output = fake
        .program()
        .args(["plan", "--preset", "imagenet-256", "--data", "somewhere", "--json", "--flops-rate", "1e15"])
        .assert()
        .success()
        .get_output()
        .stdout
        .clone();
    let plan: serde_json::Value = serde_json::from_slice(&output).unwrap();
    assert_eq!(plan["runs"][0]["params"], 310_283_520);
    assert_eq!(plan["runs"][3]["params"], 2_010_020_356_u64);
    assert!(!fake.out().exists() && fake.calls().is_empty());
}

#[test]
fn presets_and_ladders_are_listed() {
    let fake = Fake::new();
    fake.sweep(&["--list-presets"])
        .assert()
        .success()
        .stdout(contains("emoji-nano").and(contains("nano-long")));
}

#[test]
fn a_folder_without_results_says_how_to_make_them() {
    let fake = Fake::new();
    for command in ["fit", "plot", "report"] {
        fake.program().args([command, "nowhere"]).assert().code(2).stderr(contains("var-scaling sweep"));
    }
}

#[test]
fn a_damaged_results_file_names_the_line() {
    let fake = Fake::new();
    std::fs::create_dir(fake.out()).unwrap();
    std::fs::write(fake.out().join("results.jsonl"), "{\"name\": 3}\n{}\n").unwrap();
    fake.program().arg("fit").arg(fake.out()).assert().code(2).stderr(contains("line 1 is damaged"));
}

#[test]
fn an_output_folder_that_is_a_file_is_refused() {
    let fake = Fake::new();
    std::fs::write(fake.out(), "x").unwrap();
    fake.sweep(&[]).assert().failure().stderr(contains("error:").and(contains("out")));
}
