//! Flags of the subcommands, a file each.

mod cost;
mod sample;

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use var_model::source::ModelSource;
use var_model::{Error, golden};
use var_tokenizer::progress::{Progress, Show};
use var_tokenizer::torch::{DeviceChoice, Precision};

/// A whole number from 1 to `most`.
fn up_to(most: usize) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most as u64)
}

#[derive(Parser)]
#[command(name = "var-model", version, about = "Samples from VAR transformers and tells what they cost")]
#[command(after_help = "Examples:
  var-model sample --run runs/small --out grid.png       a grid of pictures out of a run folder
  var-model sample --run runs/small --out samples.npz    the same as an archive for evaluators
  var-model cost --depth 16                              parameters, FLOPs and memory of a size
`var-model COMMAND --help` has more.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sample pictures into a grid, an archive or a folder
    Sample(Box<sample::Sample>),
    /// Parameters, FLOPs and training memory from the configuration alone
    Cost(cost::Cost),
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
    pub fn run(self) -> Result<(), Error> {
        match self.command {
            Command::Sample(sample) => sample.run(),
            Command::Cost(cost) => cost.run(),
            Command::Golden { folders, .. } => {
                var_tokenizer::golden::print_json(&folders, golden::check);
                Ok(())
            }
        }
    }
}

/// Which model, and where to compute.
#[derive(Args)]
struct ModelArgs {
    /// Run folder of `var-train model`
    #[arg(long, value_name = "DIR", required_unless_present = "model", conflicts_with = "model")]
    run: Option<PathBuf>,
    /// Model file, instead of a run folder
    #[arg(long, value_name = "FILE", requires = "tokenizer")]
    model: Option<PathBuf>,
    /// Tokenizer file, or `builtin` (default: the run folder's)
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// auto (measures), f32 or bf16
    #[arg(long, default_value = "auto")]
    precision: Precision,
}

impl From<ModelArgs> for ModelSource {
    fn from(args: ModelArgs) -> Self {
        let ModelArgs { run, model, tokenizer, device, precision } = args;
        Self { run, model, tokenizer, device, precision }
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
