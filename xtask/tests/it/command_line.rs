//! Flags, help, and the commands that hand on to others.

use predicates::prelude::*;
use predicates::str::contains;

use crate::sandbox::Sandbox;

#[test]
fn a_wrong_flag_or_command_ends_in_status_2() {
    let sandbox = Sandbox::new();
    for arguments in [&["setup", "--chek"][..], &["golden", "extra"], &["swep"], &[]] {
        sandbox.xtask().args(arguments).assert().code(2);
    }
}

#[test]
fn help_lists_every_command_and_gives_examples() {
    let sandbox = Sandbox::new();
    let mut all = sandbox.xtask().arg("--help").assert().success();
    for command in ["setup", "sweep", "fit", "plot", "report", "golden", "test", "eval-fid", "bench"] {
        all = all.stdout(contains(command));
    }
    for command in ["setup", "golden", "test", "eval-fid"] {
        sandbox.xtask().args([command, "--help"]).assert().success().stdout(contains("Examples:"));
    }
}

#[test]
fn a_folder_that_is_no_clone_is_refused() {
    let sandbox = Sandbox::new();
    std::fs::remove_file(sandbox.path("clone/Cargo.toml")).unwrap();
    sandbox.xtask().arg("setup").assert().code(1).stderr(contains("is not the repository"));
}

#[test]
fn arguments_and_exit_status_pass_through_untouched() {
    let sandbox = Sandbox::ready();
    sandbox.cargo("");
    sandbox.program("var-scaling", "printf '<%s>' \"$@\"; exit 7");
    for command in ["sweep", "fit", "plot", "report"] {
        let mut xtask = sandbox.xtask();
        xtask.args([command, "--", "--help", "--out", "a b", "-x", "--"]);
        let expected = format!("<{command}><--><--help><--out><a b><-x><-->");
        xtask.assert().code(7).stdout(expected);
    }
    sandbox.xtask().args(["sweep", "--help"]).assert().code(7).stdout("<sweep><--help>");
}

#[test]
fn benches_are_handed_to_cargo() {
    let sandbox = Sandbox::ready();
    sandbox.cargo("");
    sandbox.xtask().args(["bench", "-p", "var-model", "--", "--quick"]).assert().success();
    assert_eq!(sandbox.cargo_calls(), ["bench -p var-model -- --quick"]);
}

#[test]
fn a_build_that_fails_ends_in_status_1() {
    let sandbox = Sandbox::ready();
    sandbox.cargo("build");
    sandbox.xtask().arg("sweep").assert().code(1).stderr(contains("could not build"));
}

#[test]
fn cargo_sees_the_environment_of_the_person() {
    let sandbox = Sandbox::ready();
    let script = "test -z \"$LIBTORCH$CMAKE$CARGO_MANIFEST_DIR$CARGO_PKG_NAME\" && echo $CARGO_TARGET_DIR";
    sandbox.program("cargo", script);
    let mut xtask = sandbox.xtask();
    xtask.env("LIBTORCH", sandbox.path("clone/.libtorch")).env("CMAKE", sandbox.path("clone/.cmake/cmake"));
    xtask.env("CARGO_PKG_NAME", "xtask").env("CARGO_TARGET_DIR", "../elsewhere").arg("bench");
    xtask.assert().success().stdout(contains("clone/../elsewhere"));
}

#[test]
fn tests_stop_at_the_first_failed_step_and_say_so() {
    let sandbox = Sandbox::ready();
    sandbox.cargo("clippy");
    let table = contains("formatting     passed")
        .and(contains("clippy         FAILED"))
        .and(contains("tests          not run"))
        .and(contains("documentation  not run"));
    sandbox.xtask().arg("test").assert().code(1).stdout(table);
    let calls = sandbox.cargo_calls();
    let expected = ["fmt --all --check", "clippy --release --workspace --all-targets -- --deny warnings"];
    assert_eq!(calls, expected);
}

#[test]
fn quick_tests_leave_out_golden_cases_and_documentation() {
    let sandbox = Sandbox::ready();
    sandbox.cargo("");
    let output = contains("tests          passed").and(contains("golden").not());
    sandbox.xtask().args(["test", "--quick"]).assert().success().stdout(output);
    let calls = sandbox.cargo_calls();
    assert!(calls.len() == 3 && calls.iter().all(|call| !call.starts_with("doc")), "{calls:?}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let sandbox = Sandbox::ready();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(sandbox.xtask().get_program());
    command.env_clear().env("CARGO_MANIFEST_DIR", sandbox.path("clone/xtask"));
    command.env("PATH", sandbox.path("programs")).env("HOME", sandbox.path("home"));
    let status = command.arg("setup").stdout(writer).status().unwrap();
    assert_eq!(status.code(), Some(0));
}
