//! Command line of the scorer: flags, and what they do.

mod choice;
mod extraction;
mod score;
mod stats;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use var_eval::metrics::ssim::Downsampling;
use var_eval::{Error, Result, golden, reconstruction};
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
    /// PSNR and SSIM of a folder of reconstructions against the originals
    #[command(
        after_help = "Pictures are PNG or JPEG, 8 bits, and are matched by file name without extension. \
Exit status: 2 when a picture has no partner or another size, or cannot be read.

Examples:
  var-eval reconstruction --reference originals/ --samples reconstructions/
  var-eval reconstruction --reference originals/ --samples reconstructions/ --json > metrics.json"
    )]
    Reconstruction {
        /// Folder of the originals
        #[arg(long, value_name = "DIR")]
        reference: PathBuf,
        /// Folder of the pictures to score
        #[arg(long, value_name = "DIR")]
        samples: PathBuf,
        /// Before SSIM average blocks, so that the shorter side is about 256 pixels (piq's default)
        #[arg(long)]
        downsample: bool,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
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
            Command::Reconstruction { reference, samples, downsample, json } => {
                let downsampling = if downsample { Downsampling::Blocks } else { Downsampling::None };
                let report = reconstruction::score(&reference, &samples, downsampling)?;
                Ok(if json { say(to_json(&report)?) } else { say(&report) }?)
            }
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
    /// Progress and result as JSON lines on standard output
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// No progress
    #[arg(long)]
    quiet: bool,
}

impl ShowArgs {
    fn progress(&self) -> Progress {
        Progress::new(Show::from_flags(self.json, self.quiet))
    }
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::file("standard output", e.to_string()))
}
