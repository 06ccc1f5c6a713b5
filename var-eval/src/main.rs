//! Command line of the scorer.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use var_eval::metrics::ssim::Downsampling;
use var_eval::{Error, Result, golden, reconstruction};

#[derive(Parser)]
#[command(name = "var-eval", version, about = "Scores pictures; prints every figure with its protocol")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
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

fn run(command: Command) -> Result<()> {
    match command {
        Command::Reconstruction { reference, samples, downsample, json } => {
            let downsampling = if downsample { Downsampling::Blocks } else { Downsampling::None };
            let report = reconstruction::score(&reference, &samples, downsampling)?;
            if json { print(&to_json(&report)?) } else { print(&report.to_string()) }
        }
        Command::Golden { folders, .. } => {
            let checks = folders.iter().flat_map(|folder| golden::check(folder));
            checks.into_iter().try_for_each(|check| print(&to_json(&check)?))
        }
    }
}

fn to_json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::file("standard output", e.to_string()))
}

/// Prints a line. A reader that has seen enough is no error.
fn print(line: &str) -> Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", e)),
        _ => Ok(()),
    }
}

fn main() -> ExitCode {
    var_tokenizer::torch::start();
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(e.exit_code())
        }
    }
}
