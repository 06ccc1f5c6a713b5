//! Command line of the tokenizer.

mod cli;

use std::process::ExitCode;

use var_tokenizer::progress::tell;
use var_tokenizer::{command_line, torch};

fn main() -> ExitCode {
    let (cli, _) = command_line::parse::<cli::Cli>();
    if cli.computes() {
        torch::start();
    }
    match torch::guarded(|| cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tell(format_args!("error: {e}"));
            ExitCode::from(e.exit_code())
        }
    }
}
