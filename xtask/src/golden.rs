//! `cargo xtask golden`: checks the golden cases with the programs of this workspace.
//!
//! A case is a folder with a `manifest.json`. This command starts each program once, as `PROGRAM golden --json CASE…`.
//! The program prints one JSON object per line for each quantity that it checks (see [`table::Check`]). A case that no
//! program checks fails.

mod cases;
mod table;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::error::bad_use;
use crate::project::{Extent, Project};
use crate::{say, setup};
use table::{Check, Table};

/// The programs that check golden cases, and whether they can do it on another device than a CPU.
const CHECKERS: [(&str, bool); 4] =
    [("var-tokenizer", true), ("var-model", true), ("var-train", false), ("var-eval", false)];

/// The folders of the committed cases, below the root of the clone.
const COMMITTED: [&str; 3] =
    ["var-tokenizer/tests/golden", "var-train/tests/golden", "var-eval/tests/golden"];

/// Shown below `cargo xtask golden --help`.
pub const EXAMPLES: &str =
    "A case is a folder with a manifest.json. Exit status: 0 if all checks pass, 1 if a check fails or a
case has no check, 2 if the folder is missing.

Examples:
  cargo xtask golden                      the committed cases
  cargo xtask golden --device cuda        tokenizer and transformer on a GPU, with four times the tolerances
  cargo xtask golden --dir ../my-cases    all cases in that folder";

/// Checks the cases below `dir` (default: the committed ones); exit status 1 when one fails.
pub fn run(project: &Project, dir: Option<&Path>, device: Option<&str>) -> Result<ExitCode> {
    let passed = check(project, dir, device, Extent::Programs)?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Checks the cases below `dir` and prints the table; true when everything passed.
pub fn check(project: &Project, dir: Option<&Path>, device: Option<&str>, extent: Extent) -> Result<bool> {
    let whole_clone = dir.is_none();
    let (dir, folders) = match dir {
        Some(dir) => (dir.to_path_buf(), vec![dir.to_path_buf()]),
        None => (project.path(""), COMMITTED.map(|folder| project.path(folder)).into()),
    };
    if let Some(lost) = folders.iter().find(|folder| whole_clone && !folder.is_dir()) {
        return Err(bad_use(format!(
            "{} is missing: the clone is incomplete; restore the folder, or give another one with --dir",
            lost.display()
        )));
    }
    let found = folders.iter().map(|folder| cases::find(folder)).collect::<Result<Vec<_>>>()?;
    let cases = found.concat();
    if cases.is_empty() {
        let folder = dir.display();
        say(&format!(
            "no golden case in {folder}: a case is a folder with a manifest.json\n0 passed, 0 failed\n"
        ));
        return Ok(false);
    }
    setup::ensure(project)?;
    let paths = project.build(extent)?;
    eprintln!("xtask: checking {} golden cases", cases.len());
    let mut table = Table::default();
    for (program, on_devices) in CHECKERS {
        ask(program, &paths[program], device.filter(|_| on_devices), &cases, &mut table)?;
    }
    let names: Vec<String> = cases.iter().map(|case| case.to_string_lossy().into_owned()).collect();
    table.close(&names);
    say(&table.render(&dir));
    Ok(table.passed())
}

/// Runs one program on all cases and adds its checks to the table. A crash, or other output, is a failed check; the
/// next programs still run.
fn ask(name: &str, path: &Path, device: Option<&str>, cases: &[PathBuf], table: &mut Table) -> Result<()> {
    eprintln!("xtask: {name}");
    let start = Instant::now();
    let output = Command::new(path)
        .args(["golden", "--json"])
        .args(device.iter().flat_map(|device| ["--device", device]))
        .args(cases)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", path.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    eprintln!("xtask: {name}: {} checks in {:.0} s", text.lines().count(), start.elapsed().as_secs_f64());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match Check::parse(line) {
            Ok(check) => table.add(check),
            Err(why) => table.add(Check::failure(name, format!("printed no check: {why}: {line:.60}"))),
        }
    }
    if !output.status.success() {
        table.add(Check::failure(name, format!("{name} golden ended with {}", output.status)));
    }
    Ok(())
}
