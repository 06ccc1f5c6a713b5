//! Command line of the scorer: flags, and what they do.

mod choice;
mod extraction;
mod pixels;
mod reconstruction;
mod score;
mod stats;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use var_eval::{Error, Result, golden};
use var_tokenizer::progress::{Progress, Show, say};

#[derive(Parser)]
#[command(name = "var-eval", version, about = "Scores pictures; prints every figure with its protocol")]
#[command(after_help = "Examples:
  var-eval score --samples samples.npz --reference val/          FD-efficientnet-lite0, with its protocol
  var-eval score --samples samples/ --reference ref.npz --network inception-fid --weights pt_inception.pth
  var-eval stats --source val/ --out val.h5                      features and statistics, to use again
  var-eval reconstruction --reference originals/ --samples reconstructions/
`var-eval COMMAND --help` has more.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fréchet distances and more of samples against a reference
    Score(Box<score::Score>),
    /// Features and statistics of a set of pictures, to score against later
    Stats(Box<stats::Stats>),
    /// PSNR, SSIM, LPIPS and Fréchet distance of a folder of reconstructions against the originals
    Reconstruction(Box<reconstruction::Reconstruction>),
    /// Check golden cases; prints JSON lines
    #[command(hide = true)]
    Golden {
        #[arg(long)]
        json: bool,
        folders: Vec<PathBuf>,
    },
}

impl Cli {
    /// Does what the flags ask for.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Score(score) => score.run(),
            Command::Stats(stats) => stats.run(),
            Command::Reconstruction(reconstruction) => reconstruction.run(),
            Command::Golden { folders, .. } => {
                let checks = folders.iter().flat_map(|folder| golden::check(folder));
                checks.into_iter().try_for_each(|check| Ok(say(to_json(&check)?)?))
            }
        }
    }
}

/// How much is said along the way.
#[derive(Args)]
struct ShowArgs {
    /// Progress and result as JSON lines on standard output; with --quiet the result alone
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(long)]
    quiet: bool,
}

impl ShowArgs {
    fn progress(&self) -> Progress {
        Progress::new(Show::from_flags(self.json && !self.quiet, self.quiet))
    }

    /// Prints the result where JSON was asked for.
    fn result(&self, value: &impl serde::Serialize) -> Result<()> {
        if self.json { Ok(say(to_json(value)?)?) } else { Ok(()) }
    }
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::file("standard output", e.to_string()))
}
