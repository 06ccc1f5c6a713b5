//! `cargo xtask bench`: set-up, then `cargo bench` in xtask's place.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::Result;

use crate::project::Project;
use crate::setup;

/// Runs `cargo bench ARGUMENTS…` in the root of the clone; returns only when cargo cannot be started.
pub fn run(project: &Project, arguments: &[OsString]) -> Result<ExitCode> {
    setup::ensure(project)?;
    let failure = project.cargo().arg("bench").args(arguments).exec();
    Err(anyhow::Error::new(failure).context("cargo cannot be started"))
}
