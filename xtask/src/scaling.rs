//! `cargo xtask sweep|fit|plot|report`: set-up, build, then var-scaling in xtask's place.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::project::Project;
use crate::setup;

/// What a sweep needs: var-scaling looks for the others beside itself.
const BINARIES: [&str; 4] = ["var-tokenizer", "var-model", "var-train", "var-scaling"];

/// Runs `var-scaling COMMAND ARGUMENTS…` in the folder of the caller. The program takes the place of
/// this process, so that signals and the exit status are its own; returns only when that fails.
pub fn run(project: &Project, command: &str, arguments: &[OsString]) -> Result<ExitCode> {
    setup::ensure(project)?;
    let paths = project.build(&BINARIES)?;
    let program = &paths["var-scaling"];
    let failure = Command::new(program).arg(command).args(arguments).exec();
    Err(anyhow::Error::new(failure).context(format!("{} cannot be started", program.display())))
}
