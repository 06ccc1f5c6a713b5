//! `cargo xtask studio`: sets up, builds, then becomes `var-model serve --open`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::Result;

use crate::project::{Extent, Project};
use crate::setup;

/// Runs `var-model serve --open ARGUMENTS…` in the folder of the caller. The program replaces this process and so gets its
/// signals. Returns only if that fails.
pub fn run(project: &Project, arguments: &[OsString]) -> Result<ExitCode> {
    setup::ensure(project)?;
    let paths = project.build(Extent::Programs)?;
    let program = &paths["var-model"];
    let failure = Command::new(program).args(["serve", "--open"]).args(arguments).exec();
    Err(anyhow::Error::new(failure).context(format!("cannot start {}", program.display())))
}
