//! Command line of the scorer.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let (cli, _) = var_tokenizer::command_line::parse::<cli::Cli>();
    if cli.computes() {
        var_tokenizer::torch::start();
    }
    match var_tokenizer::torch::guarded(|| cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            var_tokenizer::progress::tell(format_args!("error: {e}"));
            ExitCode::from(e.exit_code())
        }
    }
}
