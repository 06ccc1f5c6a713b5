//! `cargo xtask test`: runs all checks of the workspace in order, until one fails.
//!
//! All steps build with `--release`: they share the bindings of libtorch and HDF5, and the tests run faster.

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::project::{Extent, Project};
use crate::{dist, golden, say, setup};

/// Shown below `cargo xtask test --help`.
pub const EXAMPLES: &str = "Examples:
  cargo xtask test           all checks, as in continuous integration
  cargo xtask test --quick   formatting, clippy and tests only";

/// Below the folder of the builds: where tests note that they were skipped, a line each, `NAME: skipped: WHY`.
const SKIPPED: &str = "skipped-tests.txt";

/// How a step ended.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Passed,
    Failed,
    NotRun,
}

/// Runs the steps and prints a table of them; exit status 1 when one fails.
pub fn run(project: &Project, quick: bool) -> Result<ExitCode> {
    let mut names = vec!["set-up", "formatting", "clippy", "tests"];
    if !quick {
        names.extend(["golden", "archive", "documentation"]);
    }
    // That of an earlier call says nothing about this one.
    let _ = std::fs::remove_file(project.builds().join(SKIPPED));
    let mut rows = Vec::new();
    let mut failed = false;
    for name in names {
        if failed {
            rows.push((name, Outcome::NotRun, Duration::ZERO));
            continue;
        }
        eprintln!("\n==> {name}");
        let start = Instant::now();
        let passed = step(project, name).unwrap_or_else(|error| {
            eprintln!("error: {error:#}");
            false
        });
        let outcome = if passed { Outcome::Passed } else { Outcome::Failed };
        eprintln!("==> {name} {} after {}", word(outcome), time(start.elapsed()));
        rows.push((name, outcome, start.elapsed()));
        failed = !passed;
    }
    say(&format!("\n{}{}", summary(&rows), skipped(project)));
    Ok(if failed { ExitCode::from(1) } else { ExitCode::SUCCESS })
}

/// Runs one step and shows its output; true if it passed.
fn step(project: &Project, name: &str) -> Result<bool> {
    let mut cargo = project.cargo();
    match name {
        "set-up" => return setup::ensure(project).map(|()| true),
        "golden" => return golden::check(project, None, None, Extent::WithTests),
        "archive" => return dist::check(project, Extent::WithTests),
        "formatting" => cargo.args(["fmt", "--all", "--check"]),
        "clippy" => cargo
            .args(["clippy", "--release", "--workspace", "--all-targets"])
            .args(["--", "--deny", "warnings"]),
        "tests" => {
            let file = project.builds().join(SKIPPED);
            std::fs::create_dir_all(project.builds()).context("cannot make the folder of the builds")?;
            cargo.args(["test", "--release", "--workspace"]).env("VAR_SKIPPED", file)
        }
        _ => cargo.args(["doc", "--release", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", doc_flags()),
    };
    succeeds(&mut cargo)
}

fn succeeds(command: &mut Command) -> Result<bool> {
    Ok(command.status().context("cannot start cargo")?.success())
}

/// Warnings are errors, next to what the caller asks of rustdoc.
fn doc_flags() -> String {
    match std::env::var("RUSTDOCFLAGS") {
        Ok(flags) => format!("{flags} -D warnings"),
        Err(_) => "-D warnings".to_owned(),
    }
}

/// The tests that were skipped, and why; empty if all ran.
fn skipped(project: &Project) -> String {
    let text = std::fs::read_to_string(project.builds().join(SKIPPED)).unwrap_or_default();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    if lines.is_empty() { String::new() } else { format!("\nskipped tests:\n{}\n", lines.join("\n")) }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "FAILED",
        Outcome::NotRun => "not run",
    }
}

/// A line a step: name, outcome, time.
fn summary(rows: &[(&str, Outcome, Duration)]) -> String {
    let mut text = String::new();
    for (name, outcome, elapsed) in rows {
        let elapsed = if *outcome == Outcome::NotRun { String::new() } else { time(*elapsed) };
        let line = format!("{name:<14} {:<8} {elapsed:>12}", word(*outcome));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// `12.3 s`, or `3 min 20 s` from a minute on.
fn time(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    if seconds < 60 {
        format!("{:.1} s", elapsed.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summary_names_every_step_and_how_it_ended() {
        let rows = [
            ("formatting", Outcome::Passed, Duration::from_millis(1240)),
            ("clippy", Outcome::Failed, Duration::from_secs(200)),
            ("tests", Outcome::NotRun, Duration::ZERO),
        ];
        let expected = "formatting     passed          1.2 s\n\
                        clippy         FAILED     3 min 20 s\n\
                        tests          not run\n";
        assert_eq!(summary(&rows), expected);
    }
}
