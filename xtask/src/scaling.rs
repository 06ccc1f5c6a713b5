//! `cargo xtask sweep|fit|plot|report`: sets up, builds, then becomes var-scaling, which finds the other programs
//! next to itself.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::project::{Extent, Project};
use crate::setup;

/// Runs `var-scaling COMMAND ARGUMENTS…` in the folder of the caller. The program replaces this process and so gets
/// its signals and sets its exit status. Returns only if that fails.
pub fn run(project: &Project, command: &str, arguments: &[OsString]) -> Result<ExitCode> {
    setup::ensure(project)?;
    let paths = project.build(Extent::Programs)?;
    let program = &paths["var-scaling"];
    let failure = Command::new(program).arg(command).args(arguments).exec();
    Err(anyhow::Error::new(failure).context(format!("cannot start {}", program.display())))
}
