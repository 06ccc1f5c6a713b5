//! `cargo xtask`: one command for each task in this repository.
//!
//! It installs libtorch and a cmake for HDF5. So it needs neither, depends on no other crate of the workspace, and
//! compiles in seconds. It builds the programs of the other crates with cargo and starts them.
//!
//! Exit status: 0 for success, 1 for a failure of the machine (disk, network, a failed check), 2 for bad use.

mod bench;
mod dist;
mod error;
mod eval_fid;
mod golden;
/// The locks of the other programs; this crate does not depend on theirs.
#[path = "../../var-tokenizer/src/runtime/locks.rs"]
mod locks;
mod project;
mod scaling;
mod setup;
mod studio;
mod test;

use std::any::TypeId;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::project::Project;

/// Set up, test and run the VAR reference implementation
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetch libtorch, and cmake if needed, for `cargo build` and `cargo test`
    #[command(after_help = setup::EXAMPLES)]
    Setup {
        /// Only report what is installed and what is missing (exit status 1 if something is missing)
        #[arg(long)]
        check: bool,
        #[command(flatten)]
        extras: setup::Extras,
    },
    /// Open a page in the browser that samples and edits images (`var-model serve --open`)
    #[command(disable_help_flag = true)]
    Studio(Rest),
    /// Train a ladder of model sizes and plot the scaling curves (`var-scaling sweep`)
    #[command(disable_help_flag = true)]
    Sweep(Rest),
    /// Sample from a checkpoint and score the images (FID and other metrics)
    #[command(after_help = eval_fid::EXAMPLES)]
    EvalFid(Box<eval_fid::Options>),
    /// Compare next-scale prediction with raster scan, or the arms of another comparison (`var-scaling compare`)
    #[command(disable_help_flag = true)]
    Compare(Rest),
    /// Fit scaling laws to the results of a sweep (`var-scaling fit`)
    #[command(disable_help_flag = true)]
    Fit(Rest),
    /// Forecast the loss of a model that was not trained (`var-scaling forecast`)
    #[command(disable_help_flag = true)]
    Forecast(Rest),
    /// Draw the plots of a sweep again (`var-scaling plot`)
    #[command(disable_help_flag = true)]
    Plot(Rest),
    /// Write the report of a sweep again (`var-scaling report`)
    #[command(disable_help_flag = true)]
    Report(Rest),
    /// Check the golden cases with the programs of this workspace
    #[command(after_help = golden::EXAMPLES)]
    Golden {
        /// Folder with the cases, at any depth [default: tests/golden of var-tokenizer, var-train and var-eval]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
        /// Device of tokenizer and transformer: auto, cpu, cuda or cuda:N [default: cpu]
        #[arg(long)]
        device: Option<String>,
    },
    /// Run all checks: formatting, clippy, tests, golden cases, documentation
    #[command(after_help = test::EXAMPLES)]
    Test {
        /// Skip the golden cases and the documentation
        #[arg(long)]
        quick: bool,
    },
    /// Pack the programs and libtorch into one archive, for machines without Rust
    #[command(after_help = dist::EXAMPLES)]
    Dist(dist::Options),
    /// Run the benchmarks (`cargo bench`), or compare with the published code in turn
    #[command(after_help = bench::EXAMPLES)]
    Bench(Box<bench::Options>),
}

/// Arguments that are passed on unchanged.
#[derive(clap::Args)]
struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    arguments: Vec<OsString>,
}

impl Rest {
    /// The arguments after the name of the command, from the process: clap removes a leading `--`.
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

/// Parses the arguments of this process. A negative number after a flag is its value, not an unknown flag.
fn arguments() -> Arguments {
    fn accepting(command: clap::Command) -> clap::Command {
        let accept = |arg: clap::Arg| match arg.get_action().takes_values() {
            false => arg,
            // For clap, `-1e-3` is not a number.
            true if arg.get_value_parser().type_id() == TypeId::of::<f64>() => arg.allow_hyphen_values(true),
            true => arg.allow_negative_numbers(true),
        };
        command.mut_args(accept).mut_subcommands(accepting)
    }
    let mut command = accepting(Arguments::command());
    let mut matches = command.clone().get_matches();
    Arguments::from_arg_matches_mut(&mut matches).unwrap_or_else(|e| e.format(&mut command).exit())
}

/// Writes to standard output. A closed pipe (`| head`) is not an error.
pub fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

fn run(command: Command) -> Result<ExitCode> {
    let project = Project::find()?;
    match command {
        Command::Setup { check: true, extras } => setup::check(&project, &extras),
        Command::Setup { check: false, extras } => setup::run(&project, &extras),
        Command::Studio(rest) => studio::run(&project, &rest.untouched()),
        Command::Sweep(rest) => scaling::run(&project, "sweep", &rest.untouched()),
        Command::EvalFid(options) => eval_fid::run(&project, &options).map(|()| ExitCode::SUCCESS),
        Command::Compare(rest) => scaling::compare(&project, &rest.untouched()),
        Command::Forecast(rest) => scaling::run(&project, "forecast", &rest.untouched()),
        Command::Fit(rest) => scaling::run(&project, "fit", &rest.untouched()),
        Command::Plot(rest) => scaling::run(&project, "plot", &rest.untouched()),
        Command::Report(rest) => scaling::run(&project, "report", &rest.untouched()),
        Command::Golden { dir, device } => golden::run(&project, dir.as_deref(), device.as_deref()),
        Command::Test { quick } => test::run(&project, quick),
        Command::Dist(options) => dist::run(&project, &options).map(|()| ExitCode::SUCCESS),
        Command::Bench(options) => bench::run(&project, &options),
    }
}
