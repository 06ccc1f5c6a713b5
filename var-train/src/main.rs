//! Command line of the trainer.

mod cli;

use std::process::ExitCode;

use var_tokenizer::progress::tell;
use var_tokenizer::{command_line, torch};
use var_train::{Error, distributed};

fn main() -> ExitCode {
    let (cli, _) = command_line::parse::<cli::Cli>();
    torch::start();
    let status = torch::guarded(|| cli.run()).unwrap_or_else(|e| status_of(&e));
    distributed::end(status);
    ExitCode::from(status)
}

/// Tells the error, and gives the exit status.
fn status_of(error: &Error) -> u8 {
    // All ranks know these; rank 0 tells them.
    let shared = matches!(error, Error::Interrupted { .. } | Error::Diverged(_));
    // The manager of several ranks interrupts them, and treats another status as a failure.
    let interrupted = matches!(error, Error::Interrupted { .. }) && distributed::is_rank();
    if !shared || distributed::speaks() {
        let prefix = if interrupted { "" } else { "error: " };
        let advice = if matches!(error, Error::Interrupted { .. }) { "; resume with --resume" } else { "" };
        tell(format_args!("{prefix}{error}{advice}"));
    }
    if interrupted { 0 } else { error.exit_code() }
}
