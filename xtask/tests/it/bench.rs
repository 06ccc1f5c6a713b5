//! `cargo xtask bench`, alone and next to the published code.

use predicates::prelude::PredicateBooleanExt;
use predicates::str::contains;

use crate::sandbox::Sandbox;

/// A clone whose cargo "builds" benches that take 2 s, and a python3 whose published code takes 5 s; both write who was
/// asked for what to `calls`.
fn sandbox(torch: &str) -> Sandbox {
    let sandbox = Sandbox::ready();
    let calls = sandbox.path("calls").display().to_string();
    let line = r#"{"median_s": 2.0, "precision": "bf16", "peak_bytes": 1000000000, "share": 0.5}"#;
    let bench = sandbox
        .program("bench", &format!("echo ours $VAR_BENCH_CASE >> '{calls}'\necho words\necho '{line}'"));
    let bench = bench.display();
    let artifacts: String = ["model", "tokenizer"]
        .map(|name| {
            format!(r#"echo '{{"target":{{"name":"{name}","kind":["bench"]}},"executable":"{bench}"}}'"#)
                + "\n"
        })
        .concat();
    sandbox.program("cargo", &artifacts);
    let line = r#"{"median_s": 5.0, "precision": "f32", "peak_bytes": 3000000000}"#;
    sandbox.program(
        "python3",
        &format!(
            "test \"$1\" = -c && echo {torch} && exit\n\
             test -f \"$1\" || exit 9\n\
             echo published $3 $4 ${{MALLOC_TOP_PAD_:+set}} >> '{calls}'\necho '{line}'"
        ),
    );
    std::fs::create_dir_all(sandbox.path("published/models")).unwrap();
    std::fs::write(sandbox.path("published/models/var.py"), "").unwrap();
    sandbox
}

#[test]
fn a_comparison_times_all_sides_in_turn_and_prints_a_row_per_case() {
    let sandbox = sandbox("2.11.0");
    let out = sandbox.path("times.json");
    let mut xtask = sandbox.xtask();
    xtask
        .args(["bench", "--beside", "../published", "--rounds", "2", "--cases", "train,decode", "--out"])
        .arg(&out);
    let printed = xtask.assert().success().get_output().stdout.clone();
    let printed = String::from_utf8(printed).unwrap();
    let rows: Vec<&str> = printed.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(rows.len(), 2, "{printed}");
    for part in [
        "training step, d6",
        "2.000 s (2.000–2.000) bf16",
        "50% (50–50)",
        "2.50 (2.50–2.50)",
        "1.00, 3.00 GB",
    ] {
        assert!(rows[0].contains(part), "'{part}' is not in {}", rows[0]);
    }
    let calls = std::fs::read_to_string(sandbox.path("calls")).unwrap();
    let round = "ours train\npublished train f32\npublished train bf16 set\n\
                 ours decode\npublished decode f32\npublished decode bf16 set\n";
    assert_eq!(calls, round.repeat(2));
    let times: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(out).unwrap()).unwrap();
    assert_eq!(times["train"]["ours"].as_array().unwrap().len(), 2);
}

#[test]
fn a_comparison_without_the_code_or_with_another_torch_is_refused_before_anything_is_built() {
    let sandbox = sandbox("2.9.1");
    let refused = |args: &[&str], part: &str| {
        let mut xtask = sandbox.xtask();
        xtask.arg("bench").args(args).assert().code(2).stderr(contains(part));
    };
    refused(&["--beside", "../published"], "has torch 2.9.1; torch 2.11.0 and numpy are needed");
    refused(&["--beside", "."], "is not a checkout of the published code");
    refused(&["--beside", "../published", "--cases", "trian"], "unknown case 'trian'");
    assert!(!sandbox.path("calls").exists());
}

#[test]
fn a_side_that_fails_says_why() {
    let sandbox = sandbox("2.11.0");
    sandbox.program("bench", "echo out of memory >&2; exit 1");
    let mut xtask = sandbox.xtask();
    let assert = xtask.args(["bench", "--beside", "../published"]).assert().code(1);
    assert.stderr(contains("out of memory").and(contains("no time")));
}
