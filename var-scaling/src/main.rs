//! Command line of the scaling tools.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use var_scaling::output::tell;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tell(&format!("error: {e}"));
            ExitCode::from(u8::try_from(e.exit_code()).unwrap_or(1))
        }
    }
}
