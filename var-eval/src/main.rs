//! Command line of the scorer.

mod commands;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    var_tokenizer::torch::start();
    let cli = commands::Cli::parse();
    match var_tokenizer::torch::guarded(|| cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            var_tokenizer::progress::tell(format_args!("error: {e}"));
            ExitCode::from(e.exit_code())
        }
    }
}
