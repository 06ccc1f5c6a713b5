//! `cargo xtask bench`: sets up, then becomes `cargo bench`; with `--beside`, compares with the published code.

mod beside;
mod machine;
mod table;
mod timing;

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::ExitCode;

use anyhow::Result;

use crate::project::Project;
use crate::setup;
use beside::Comparison;

/// Shown below `cargo xtask bench --help`.
pub const EXAMPLES: &str =
    "Other arguments go to `cargo bench`. A comparison needs a checkout of the published code (FoundationVision/VAR) and
a python3 with torch 2.11.0. It prints Markdown, and times to compare: run nothing else meanwhile.

Examples:
  cargo xtask bench
  cargo xtask bench -p var-model --bench model -- d16
  cargo xtask bench --beside ../VAR
  cargo xtask bench --beside ../VAR --rounds 6 --cases train,decode --out bench.json";

/// Options of `bench`.
#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    comparison: Comparison,
    /// Arguments of `cargo bench`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, conflicts_with = "beside", hide = true)]
    arguments: Vec<OsString>,
}

/// Runs `cargo bench ARGUMENTS…` in the root of the clone, and does not return then; or compares.
pub fn run(project: &Project, options: &Options) -> Result<ExitCode> {
    setup::ensure(project)?;
    match &options.comparison.beside {
        Some(checkout) => beside::run(project, &options.comparison, checkout).map(|()| ExitCode::SUCCESS),
        None => {
            // From the process: clap removes a leading `--`.
            debug_assert!(options.arguments.len() < std::env::args_os().count());
            let failure = project.cargo().arg("bench").args(std::env::args_os().skip(2)).exec();
            Err(anyhow::Error::new(failure).context("cannot start cargo"))
        }
    }
}
