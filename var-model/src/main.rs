//! Command line of the transformer.

mod cli;

use std::process::ExitCode;

use var_tokenizer::command_line;
use var_tokenizer::progress::tell;
use var_tokenizer::torch;

fn main() -> ExitCode {
    let (cli, given) = command_line::parse::<cli::Cli>();
    if cli.computes() {
        torch::start();
    }
    match torch::guarded(|| cli.run(given)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tell(format_args!("error: {e}"));
            ExitCode::from(e.exit_code())
        }
    }
}
