//! Command line of the transformer.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use var_tokenizer::progress::tell;
use var_tokenizer::torch;

fn main() -> ExitCode {
    torch::start();
    let cli = cli::Cli::parse();
    match torch::guarded(|| cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tell(format_args!("error: {e}"));
            ExitCode::from(e.exit_code() as u8)
        }
    }
}
