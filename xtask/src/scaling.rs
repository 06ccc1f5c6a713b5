//! `cargo xtask sweep|fit|plot|report`: set-up, build, then var-scaling in xtask's place. It finds the
//! other programs beside itself.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::project::{Extent, Project};
use crate::setup;

/// Runs `var-scaling COMMAND ARGUMENTS…` in the folder of the caller. The program takes the place of
/// this process, so that signals and the exit status are its own; returns only when that fails.
pub fn run(project: &Project, command: &str, arguments: &[OsString]) -> Result<ExitCode> {
    setup::ensure(project)?;
    let paths = project.build(Extent::Programs)?;
    let program = &paths["var-scaling"];
    let failure = Command::new(program).arg(command).args(arguments).exec();
    Err(anyhow::Error::new(failure).context(format!("{} cannot be started", program.display())))
}
