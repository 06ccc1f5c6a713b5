//! Our benches and the published code in turn, in one run on one machine.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::timing::{CASES, Case, Side, Timing, Timings};
use super::{machine, table};
use crate::error::bad_use;
use crate::project::Project;
use crate::say;

/// Times the published side; needs its checkout and torch.
const SCRIPT: &str = include_str!("published.py");
/// Lets glibc keep freed memory for the next tensors, as our programs do by themselves.
const ALLOCATOR: [(&str, &str); 3] = [
    // Some versions of glibc refuse a high threshold instead.
    ("MALLOC_MMAP_MAX_", "0"),
    ("MALLOC_TRIM_THRESHOLD_", "17179869184"),
    ("MALLOC_TOP_PAD_", "268435456"),
];

/// What to compare with, and how.
#[derive(clap::Args)]
pub struct Comparison {
    /// Compare with the published code in this checkout, in turn
    #[arg(long, value_name = "DIR")]
    pub beside: Option<PathBuf>,
    /// Number of rounds; each times all cases on all sides
    #[arg(long, value_name = "N", default_value_t = 4, requires = "beside", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Cases, separated by commas: train, sample, encode, decode, tokenizer [default: all]
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "beside")]
    cases: Vec<String>,
    /// File for all times, as JSON; it is written after each round
    #[arg(long, value_name = "FILE", requires = "beside")]
    out: Option<PathBuf>,
    /// The python3 that has torch
    #[arg(long, value_name = "PROGRAM", default_value = "python3", requires = "beside")]
    python: PathBuf,
}

/// Times all cases in turn, and prints the table.
pub fn run(project: &Project, options: &Comparison, checkout: &Path) -> Result<()> {
    let cases = chosen(&options.cases)?;
    if !checkout.join("models").join("var.py").is_file() {
        return Err(bad_use(format!(
            "{} is not a checkout of the published code (no models/var.py); clone FoundationVision/VAR",
            checkout.display()
        )));
    }
    check_torch(&options.python)?;
    let benches = build(project)?;
    let folder = project.scratch("bench")?;
    let script = folder.join("published.py");
    std::fs::write(&script, SCRIPT).with_context(|| format!("cannot write {}", script.display()))?;
    let mut timings = Timings::new();
    for round in 1..=options.rounds {
        for case in &cases {
            let ours = ours(case, &benches)?;
            let precision = ours.precision.clone();
            let mut add = |side, timing: Timing| {
                eprintln!(
                    "round {round} of {}: {} {side:?} {:.3} s",
                    options.rounds, case.name, timing.median_s
                );
                timings.entry(case.name).or_default().entry(side).or_default().push(timing);
            };
            add(Side::Ours, ours);
            let mut published = Command::new(&options.python);
            published.arg(&script).arg(checkout).arg(case.name);
            add(Side::Defaults, timing(published.arg("f32"))?);
            let mut published = Command::new(&options.python);
            published.arg(&script).arg(checkout).arg(case.name).arg(&precision).envs(ALLOCATOR);
            add(Side::Equal, timing(&mut published)?);
        }
        if let Some(out) = &options.out {
            let text = serde_json::to_string_pretty(&timings)?;
            std::fs::write(out, text).with_context(|| format!("cannot write {}", out.display()))?;
        }
    }
    let _ = std::fs::remove_dir_all(&folder);
    say(&format!("{}\n\n{}", machine::describe(project), table::markdown(&cases, &timings, options.rounds)));
    Ok(())
}

/// The cases that were asked for.
fn chosen(names: &[String]) -> Result<Vec<&'static Case>> {
    if names.is_empty() {
        return Ok(CASES.iter().collect());
    }
    let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
    names
        .iter()
        .map(|name| {
            let found = CASES.iter().find(|case| case.name == name);
            found.ok_or_else(|| bad_use(format!("unknown case '{name}'; known: {}", known.join(", "))))
        })
        .collect()
}

fn check_torch(python: &Path) -> Result<()> {
    let mut command = Command::new(python);
    let output = command.args(["-c", "import torch, numpy; print(torch.__version__)"]).output();
    let output = output.with_context(|| format!("cannot start {}", python.display()))?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !version.starts_with("2.11.") {
        let found =
            if version.is_empty() { "no torch or no numpy".to_owned() } else { format!("torch {version}") };
        return Err(bad_use(format!(
            "{} has {found}; torch 2.11.0 and numpy are needed, for example in a virtual environment (--python)",
            python.display()
        )));
    }
    Ok(())
}

/// Builds the benches. Returns their programs by target.
fn build(project: &Project) -> Result<BTreeMap<String, PathBuf>> {
    let mut command = project.cargo();
    command.args(["bench", "--no-run", "--message-format", "json-render-diagnostics"]);
    command.args(["-p", "var-model", "-p", "var-tokenizer", "--benches"]);
    let output = command.stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("cargo could not build the benches ({}); its messages are above", output.status);
    }
    let mut found = BTreeMap::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let (target, program) = (&message["target"], message["executable"].as_str());
        if let (Some(name), Some(program), "bench") =
            (target["name"].as_str(), program, target["kind"][0].as_str().unwrap_or_default())
        {
            found.insert(name.to_owned(), PathBuf::from(program));
        }
    }
    Ok(found)
}

/// Times our side of `case`.
fn ours(case: &Case, benches: &BTreeMap<String, PathBuf>) -> Result<Timing> {
    let (package, target) = case.bench;
    let program = benches
        .get(target)
        .with_context(|| format!("cargo did not build the bench {target} of {package}"))?;
    timing(Command::new(program).arg("--bench").env("VAR_BENCH_CASE", case.name))
}

/// The last line that a side prints.
fn timing(command: &mut Command) -> Result<Timing> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output =
        command.stderr(Stdio::piped()).output().with_context(|| format!("cannot start {program}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rev().find(|line| line.starts_with('{'));
    if let (true, Some(last)) = (output.status.success(), last) {
        return serde_json::from_str(last).with_context(|| format!("{program} printed '{last}'"));
    }
    let _ = std::io::stderr().write_all(&output.stderr);
    bail!("{program} ended with {} and no time; what it said is above", output.status);
}
