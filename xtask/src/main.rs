//! `cargo xtask`: one command for each thing a person does with this repository.
//!
//! It needs neither libtorch nor HDF5 and compiles in seconds, because it is what brings them. It
//! depends on no other crate of the workspace: it builds their binaries with cargo and starts them.
//!
//! Exit status: 0 when all is well, 1 for a failure of the machine (disk, network, a failed check),
//! 2 for bad use.

mod bench;
mod error;
mod eval_fid;
mod golden;
/// As the other programs lock; this one depends on no crate of the workspace.
#[path = "../../var-tokenizer/src/runtime/locks.rs"]
mod locks;
mod project;
mod scaling;
mod setup;
mod test;

use std::any::TypeId;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::project::Project;

/// Builds, runs and tests the VAR reference implementation.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch libtorch and, where needed, cmake, so that plain `cargo build` and `cargo test` work
    #[command(after_help = setup::EXAMPLES)]
    Setup {
        /// Change nothing: report what is there and what is missing (exit 1 when something is)
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        extras: setup::Extras,
    },
    /// Train a ladder of model sizes and plot the scaling curves (`var-scaling sweep`)
    #[command(disable_help_flag = true)]
    Sweep(Rest),
    /// Sample from a checkpoint and score the pictures (FID and its kin)
    #[command(after_help = eval_fid::EXAMPLES)]
    EvalFid(Box<eval_fid::Options>),
    /// Fit scaling laws to the results of a sweep (`var-scaling fit`)
    #[command(disable_help_flag = true)]
    Fit(Rest),
    /// Draw the plots of a sweep again (`var-scaling plot`)
    #[command(disable_help_flag = true)]
    Plot(Rest),
    /// Write the report of a sweep again (`var-scaling report`)
    #[command(disable_help_flag = true)]
    Report(Rest),
    /// Check every golden case below a folder against the programs of this workspace
    #[command(after_help = golden::EXAMPLES)]
    Golden {
        /// Folder that holds the cases, at any depth [default: var-tokenizer/tests/golden and var-eval/tests/golden]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Run all checks: formatting, clippy, tests, golden cases, documentation
    #[command(after_help = test::EXAMPLES)]
    Test {
        /// Leave out the golden cases and the documentation
        #[arg(long)]
        quick: bool,
    },
    /// Run the benchmarks (`cargo bench`)
    #[command(disable_help_flag = true)]
    Bench(Rest),
}

/// Arguments that are handed on as they are.
#[derive(clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<OsString>,
}

impl Rest {
    /// The arguments after the name of the command, taken from the process itself: clap would swallow
    /// a leading `--`.
    fn untouched(self) -> Vec<OsString> {
        debug_assert!(self.arguments.len() < std::env::args_os().count());
        std::env::args_os().skip(2).collect()
    }
}

fn main() -> ExitCode {
    match run(arguments().command) {
        Ok(code) => code,
        Err(error) => {
            if !error.is::<error::ChildFailed>() {
                eprintln!("error: {error:#}");
            }
            error::exit_code(&error)
        }
    }
}

/// The arguments of this process. A negative number after a flag is the flag's value, not an unknown flag: the
/// message is then about the number.
fn arguments() -> Arguments {
    fn accepting(command: clap::Command) -> clap::Command {
        let accept = |arg: clap::Arg| match arg.get_action().takes_values() {
            false => arg,
            // `-1e-3` is no number to clap.
            true if arg.get_value_parser().type_id() == TypeId::of::<f64>() => arg.allow_hyphen_values(true),
            true => arg.allow_negative_numbers(true),
        };
        command.mut_args(accept).mut_subcommands(accepting)
    }
    let mut command = accepting(Arguments::command());
    let mut matches = command.clone().get_matches();
    Arguments::from_arg_matches_mut(&mut matches).unwrap_or_else(|e| e.format(&mut command).exit())
}

/// Writes to standard output; a reader that has gone away (`| head`) is no failure.
pub fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn run(command: Command) -> Result<ExitCode> {
    let project = Project::find()?;
    match command {
        Command::Setup { check: true, extras } => setup::check(&project, extras),
        Command::Setup { check: false, extras } => setup::run(&project, extras),
        Command::Sweep(rest) => scaling::run(&project, "sweep", &rest.untouched()),
        Command::EvalFid(options) => eval_fid::run(&project, &options).map(|()| ExitCode::SUCCESS),
        Command::Fit(rest) => scaling::run(&project, "fit", &rest.untouched()),
        Command::Plot(rest) => scaling::run(&project, "plot", &rest.untouched()),
        Command::Report(rest) => scaling::run(&project, "report", &rest.untouched()),
        Command::Golden { dir } => golden::run(&project, dir.as_deref()),
        Command::Test { quick } => test::run(&project, quick),
        Command::Bench(rest) => bench::run(&project, &rest.untouched()),
    }
}
