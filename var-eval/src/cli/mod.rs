//! Flags of the subcommands, a file each.

mod extraction;
mod fetch;
mod network;
mod pixels;
mod reconstruction;
mod score;
mod stats;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use var_eval::inputs::check_h5;
use var_eval::{Error, Result, golden};
use var_tokenizer::h5::check::CheckH5;
use var_tokenizer::progress::{Progress, Show, say};

#[derive(Parser)]
#[command(name = "var-eval", version, about = "Scores images, and prints every number with its protocol")]
#[command(after_help = "Examples:
  var-eval score --samples samples.npz --reference val/    FD-efficientnet-lite0, with its protocol
  var-eval score --samples samples/ --reference imagenet-256 --network inception-fid \\
      --preprocessing torch-fidelity
  var-eval stats --source val/ --out val.h5                features and statistics of a reference
  var-eval reconstruction --reference originals/ --samples reconstructions/
Run `var-eval COMMAND --help` for the options and more examples.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Score samples against a reference: Fréchet distances and other metrics
    Score(Box<score::ScoreArgs>),
    /// Compute features and statistics of a set of images, to use as a reference later
    Stats(Box<stats::StatsArgs>),
    /// Compare reconstructions with their originals: PSNR, SSIM, LPIPS and Fréchet distance
    Reconstruction(Box<reconstruction::ReconstructionArgs>),
    /// Fetch the weights and references of published scores, or list their names
    Fetch(fetch::FetchArgs),
    /// Check a file of tokens or features, in a process of its own
    #[command(name = "check-h5", hide = true)]
    CheckH5(CheckH5),
    /// Check golden cases; prints JSON lines
    #[command(hide = true)]
    Golden {
        #[arg(long)]
        json: bool,
        folders: Vec<PathBuf>,
    },
}

impl Cli {
    /// Whether it computes with tensors: then the process is prepared for that first.
    pub fn computes(&self) -> bool {
        !matches!(self.command, Command::CheckH5(_) | Command::Fetch(_))
    }

    /// Does what the flags ask for.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Score(score) => score.run(),
            Command::Stats(stats) => stats.run(),
            Command::Reconstruction(reconstruction) => reconstruction.run(),
            Command::Fetch(fetch) => fetch.run(),
            Command::CheckH5(check) => Ok(check.run(|path| {
                check_h5(path).map_err(|e| match e {
                    Error::Core(core) => core,
                    other => var_tokenizer::Error::file(path, other.to_string()),
                })
            })?),
            Command::Golden { folders, .. } => {
                var_tokenizer::golden::print_json(&folders, |folder| Ok::<_, Error>(golden::check(folder)));
                Ok(())
            }
        }
    }
}

/// What is shown along the way.
#[derive(Args)]
struct ShowArgs {
    /// Print progress and result as JSON lines on standard output; with --quiet only the result
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl ShowArgs {
    fn progress(&self) -> Progress {
        Progress::new(Show::from_flags(self.json && !self.quiet, self.quiet))
    }

    /// Prints the result if JSON was requested.
    fn result(&self, value: &impl serde::Serialize) -> Result<()> {
        if self.json { Ok(say(to_json(value)?)?) } else { Ok(()) }
    }
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::file("standard output", e.to_string()))
}
