//! `cargo xtask bench`: sets up, then becomes `cargo bench`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::Result;

use crate::project::Project;
use crate::setup;

/// Runs `cargo bench ARGUMENTS…` in the root of the clone; returns only when cannot start cargo.
pub fn run(project: &Project, arguments: &[OsString]) -> Result<ExitCode> {
    setup::ensure(project)?;
    let failure = project.cargo().arg("bench").args(arguments).exec();
    Err(anyhow::Error::new(failure).context("cannot start cargo"))
}
