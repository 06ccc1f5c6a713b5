//! Flags of `var-scaling status`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use var_scaling::error::Result;
use var_scaling::quantity::duration;
use var_scaling::sweep::{RunState, RunStatus, SweepStatus};
use var_tokenizer::progress::say;

use super::tables::columns;

/// Time between two tables.
const EVERY: Duration = Duration::from_secs(5);
/// Clears a terminal.
const CLEAR: &str = "\x1b[H\x1b[2J";

#[derive(Args)]
#[command(after_help = "Examples:
  var-scaling status runs/sweep-emoji-nano
  var-scaling status runs/ladder --watch        (a new table every 5 s, until all runs are finished)

It only reads the folder, so the sweep may run in another terminal or on another machine.")]
pub struct StatusArgs {
    /// Sweep folder
    folder: PathBuf,
    /// Print the table again and again until all runs are finished
    #[arg(long)]
    watch: bool,
    /// Print the state as JSON
    #[arg(long, conflicts_with = "watch")]
    json: bool,
}

impl StatusArgs {
    pub fn run(&self) -> Result<()> {
        loop {
            let status = SweepStatus::read(&self.folder)?;
            if self.json {
                return Ok(say(serde_json::to_string_pretty(&status).unwrap_or_default())?);
            }
            let clear = if self.watch && std::io::stdout().is_terminal() { CLEAR } else { "" };
            say(format_args!("{clear}{}", table(&status).trim_end()))?;
            if !self.watch || status.is_finished() {
                return Ok(());
            }
            std::thread::sleep(EVERY);
        }
    }
}

fn table(status: &SweepStatus) -> String {
    let row = |run: &RunStatus| {
        let (state, time) = match run.state {
            RunState::Finished => ("finished", run.seconds.map(duration)),
            RunState::Begun => ("begun", run.seconds.map(|s| format!("{} ago", duration(s)))),
            RunState::Waiting => ("waiting", None),
        };
        let step = match (run.step, run.steps) {
            (Some(step), Some(steps)) => format!("{step} of {steps}"),
            (None, Some(steps)) => format!("0 of {steps}"),
            _ => String::new(),
        };
        let loss = run.loss.map_or_else(String::new, |loss| format!("{loss:.4}"));
        [run.name.clone(), state.into(), step, loss, time.unwrap_or_default()]
    };
    let finished = status.runs.iter().filter(|run| run.state == RunState::Finished).count();
    let tokens = if status.tokens { "" } else { ", the images are not encoded yet" };
    format!(
        "{}{finished} of {} finished{tokens}; loss: on held-out images if finished, else of the last step; time: of \
         training, or since the last line\n",
        columns(["size", "state", "step", "loss", "time"], status.runs.iter().map(row)),
        status.runs.len()
    )
}
