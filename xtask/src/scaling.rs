//! `cargo xtask sweep|compare|fit|plot|report`: sets up, builds, then becomes var-scaling, which finds the other programs
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

/// Runs `var-scaling compare`, which scores samples: fetches the weights of the network for that first, except to print.
pub fn compare(project: &Project, arguments: &[OsString]) -> Result<ExitCode> {
    let prints = |word: &OsString| ["--help", "-h", "--list", "--dry-run"].iter().any(|flag| word == flag);
    if !arguments.iter().any(prints) {
        setup::ensure_features(project)?;
    }
    run(project, "compare", arguments)
}
