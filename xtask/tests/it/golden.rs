//! `cargo xtask golden` with made-up programs.

use predicates::prelude::*;
use predicates::str::{contains, ends_with};

use crate::sandbox::Sandbox;

/// Prints a passing check of `quantity` for every case.
fn checks(quantity: &str, difference: &str, pass: bool) -> String {
    format!(
        r#"test "$1 $2" = "golden --json" || exit 3
           shift 2
           for case; do
             printf '{{"case":"%s","quantity":"{quantity}","difference":{difference},"tolerance":1e-4,"pass":{pass}}}\n' "$case"
           done"#
    )
}

/// A machine with cases `a` and `b/c`; no program checks anything yet.
fn with_cases() -> Sandbox {
    let sandbox = Sandbox::ready();
    sandbox.cargo("");
    for name in ["var-tokenizer", "var-model", "var-train", "var-eval"] {
        sandbox.program(name, "");
    }
    for case in ["cases/a", "cases/b/c"] {
        std::fs::create_dir_all(sandbox.path(case)).unwrap();
        std::fs::write(sandbox.path(case).join("manifest.json"), "{}").unwrap();
    }
    sandbox
}

#[test]
fn all_checks_that_pass_end_in_success() {
    let sandbox = with_cases();
    sandbox.program("var-tokenizer", &checks("f_hat", "1.2e-6", true));
    sandbox.program("var-model", &checks("logits", "0.0", true));
    let table = contains("a     f_hat").and(contains("b/c   logits"));
    let mut xtask = sandbox.xtask();
    xtask.args(["golden", "--dir"]).arg(sandbox.path("cases"));
    xtask.assert().success().stdout(table.and(ends_with("\n4 passed, 0 failed\n")));
}

#[test]
fn a_failed_check_ends_in_status_1() {
    let sandbox = with_cases();
    sandbox.program("var-tokenizer", &checks("f_hat", "1.2e-6", true));
    sandbox.program("var-train", &checks("lr", "0.5", false));
    let mut xtask = sandbox.xtask();
    // A relative folder counts from where the person stands.
    xtask.args(["golden", "--dir", "../cases"]);
    xtask.assert().code(1).stdout(contains("FAIL").and(ends_with("\n2 passed, 2 failed\n")));
}

#[test]
fn a_case_that_no_program_checks_ends_in_status_1() {
    let sandbox = with_cases();
    let mut xtask = sandbox.xtask();
    xtask.args(["golden", "--dir"]).arg(sandbox.path("cases"));
    xtask.assert().code(1).stdout(contains("nothing to check").and(ends_with("\n0 passed, 2 failed\n")));
}

#[test]
fn a_crash_ends_in_status_1_and_the_others_are_still_asked() {
    let sandbox = with_cases();
    sandbox.program("var-tokenizer", "kill -SEGV $$");
    sandbox.program("var-model", &checks("logits", "0.0", true));
    let mut xtask = sandbox.xtask();
    xtask.args(["golden", "--dir"]).arg(sandbox.path("cases"));
    let output = contains("var-tokenizer golden ended with").and(ends_with("\n2 passed, 1 failed\n"));
    xtask.assert().code(1).stdout(output);
}

#[test]
fn output_that_is_no_check_ends_in_status_1() {
    let sandbox = with_cases();
    sandbox.program("var-tokenizer", &checks("f_hat", "1.2e-6", true));
    sandbox.program("var-model", "echo hello");
    let mut xtask = sandbox.xtask();
    xtask.args(["golden", "--dir"]).arg(sandbox.path("cases"));
    xtask.assert().code(1).stdout(contains("printed no check"));
}

#[test]
fn a_case_that_lost_its_manifest_ends_in_status_1() {
    let sandbox = with_cases();
    sandbox.program("var-tokenizer", r#"test "$1 $2" = "golden --json" || exit 3
        shift 2
        for case; do
          test -e "$case/manifest.json" && printf '{"case":"%s","quantity":"x","difference":0.0,"tolerance":1e-4,"pass":true}\n' "$case"
        done; true"#);
    std::fs::rename(sandbox.path("cases/a/manifest.json"), sandbox.path("cases/a/expected.safetensors"))
        .unwrap();
    let mut xtask = sandbox.xtask();
    xtask.args(["golden", "--dir"]).arg(sandbox.path("cases"));
    let output =
        contains("a     -").and(contains("nothing to check")).and(ends_with("\n1 passed, 1 failed\n"));
    xtask.assert().code(1).stdout(output);
}

#[test]
fn committed_cases_that_are_missing_are_named_with_status_2() {
    let sandbox = Sandbox::ready();
    sandbox.xtask().arg("golden").assert().code(2).stderr(contains("var-tokenizer/tests/golden is missing"));
}

#[test]
fn a_folder_without_cases_ends_in_status_1() {
    let sandbox = Sandbox::ready();
    let mut xtask = sandbox.xtask();
    xtask.args(["golden", "--dir"]).arg(sandbox.path("home"));
    xtask.assert().code(1).stdout(contains("no golden case").and(ends_with("\n0 passed, 0 failed\n")));
}

#[test]
fn a_folder_that_is_not_there_ends_in_status_2() {
    let sandbox = Sandbox::ready();
    let mut xtask = sandbox.xtask();
    xtask.args(["golden", "--dir", "/no/such/folder"]);
    xtask.assert().code(2).stderr(contains("/no/such/folder"));
}
