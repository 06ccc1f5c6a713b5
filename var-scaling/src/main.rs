//! Command line of the scaling tools.

mod cli;

use std::process::ExitCode;

use var_tokenizer::command_line;
use var_tokenizer::progress::tell;

fn main() -> ExitCode {
    let (cli, _) = command_line::parse::<cli::Cli>();
    match cli::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            let flag = cli::flag_after(&e).map(|flag| format!(" ({flag})")).unwrap_or_default();
            tell(format_args!("error: {e}{flag}"));
            ExitCode::from(e.exit_code())
        }
    }
}
