//! Command line of the transformer.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand};
use var_model::commands::{self, MOST_AT_ONCE, MOST_PICTURES, SampleRequest};
use var_model::sampling::SamplingOptions;
use var_model::{Error, golden};
use var_tokenizer::progress::{Progress, Show, tell};
use var_tokenizer::torch::{self, DeviceChoice, Precision};

/// A whole number from 1 to `most`.
fn up_to(most: usize) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most as u64)
}

#[derive(Parser)]
#[command(name = "var-model", version, about = "Samples from VAR transformers and tells what they cost")]
#[command(after_help = "Examples:
  var-model sample --run runs/small --out grid.png       a grid of pictures out of a run folder
  var-model sample --run runs/small --json --out g.png   the same, progress as JSON lines
  var-model cost --depth 16                              parameters, FLOPs and memory of a size
`var-model COMMAND --help` has more.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sample pictures into one grid, a row a class
    #[command(after_help = "Examples:
  var-model sample --run runs/small --out grid.png
  var-model sample --run runs/small --classes 0,3,food-drink --per-class 8 --cfg 3 --seed 7 --out grid.png
  var-model sample --model model.safetensors --tokenizer tokenizer.safetensors --out grid.png")]
    Sample {
        /// Run folder of `var-train model`
        #[arg(long, value_name = "DIR", required_unless_present = "model", conflicts_with = "model")]
        run: Option<PathBuf>,
        /// Model file, instead of a run folder
        #[arg(long, value_name = "FILE", requires = "tokenizer")]
        model: Option<PathBuf>,
        /// Tokenizer file, or `builtin` (default: the run folder's)
        #[arg(long, value_name = "FILE")]
        tokenizer: Option<String>,
        /// Classes by number or name, comma-separated (default: the first 8)
        #[arg(long, value_delimiter = ',')]
        classes: Vec<String>,
        /// Pictures a class
        #[arg(long, default_value_t = 8, value_parser = up_to(MOST_PICTURES))]
        per_class: usize,
        /// Guidance at the last scale; 0 switches it off
        #[arg(long, default_value_t = 1.5)]
        cfg: f64,
        /// Draw among this many codes; 0: all
        #[arg(long, default_value_t = 900)]
        top_k: usize,
        /// Draw among the codes that together reach this probability; 0: all
        #[arg(long, default_value_t = 0.96)]
        top_p: f64,
        /// Mix codes by a Gumbel softmax: smoother pictures, not for scores
        #[arg(long)]
        more_smooth: bool,
        /// Seed; each picture depends on it and on its own number alone
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Pictures sampled at once
        #[arg(long, default_value_t = 16, value_parser = up_to(MOST_AT_ONCE))]
        batch: usize,
        /// Grid file (PNG)
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// auto, cpu, cuda or cuda:N
        #[arg(long, default_value = "auto")]
        device: DeviceChoice,
        /// auto (measures), f32 or bf16
        #[arg(long, default_value = "auto")]
        precision: Precision,
        /// Progress and result as JSON lines on standard output
        #[arg(long, conflicts_with = "quiet")]
        json: bool,
        /// No progress
        #[arg(long)]
        quiet: bool,
    },
    /// Parameters, FLOPs and training memory from the configuration alone
    #[command(after_help = "Examples:
  var-model cost --depth 16
  var-model cost --depth 30 --batch 8 --json
  var-model cost --depth 3 --width 96 --heads 3 --schedule 1,2,3,4,6,8 --vocabulary 512 --latent-channels 16")]
    Cost {
        /// Blocks
        #[arg(long)]
        depth: usize,
        /// Channels (default 64 × depth)
        #[arg(long)]
        width: Option<usize>,
        /// Heads (default: depth)
        #[arg(long)]
        heads: Option<usize>,
        /// Sides of the token maps
        #[arg(long, default_value = "1,2,3,4,5,6,8,10,13,16")]
        schedule: String,
        /// Codes
        #[arg(long, default_value_t = 4096)]
        vocabulary: usize,
        /// Channels of the latent
        #[arg(long, default_value_t = 32)]
        latent_channels: usize,
        /// Classes
        #[arg(long, default_value_t = 1000)]
        classes: usize,
        /// One AdaLN projection for all blocks
        #[arg(long)]
        shared_adaln: bool,
        /// Pictures a step, for the memory
        #[arg(long, default_value_t = 1, value_parser = up_to(MOST_PICTURES))]
        batch: usize,
        /// One JSON object instead of a table
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

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Sample {
            run,
            model,
            tokenizer,
            classes,
            per_class,
            cfg,
            top_k,
            top_p,
            more_smooth,
            seed,
            batch,
            out,
            device,
            precision,
            json,
            quiet,
        } => {
            let request = SampleRequest {
                run,
                model,
                tokenizer,
                classes,
                per_class,
                options: SamplingOptions { cfg, top_k, top_p, more_smooth },
                seed,
                batch,
                out,
                device,
                precision,
            };
            let mut progress = Progress::new(Show::from_flags(json, quiet));
            let summary = commands::sample(&request, &mut progress)?;
            progress.note(&format!(
                "wrote {} ({} pictures, {:.1} a second)",
                request.out.display(),
                summary["pictures"],
                summary["images_per_second"].as_f64().unwrap_or(0.0)
            ));
            progress.event(&summary);
            Ok(())
        }
        Command::Cost {
            depth,
            width,
            heads,
            schedule,
            vocabulary,
            latent_channels,
            classes,
            shared_adaln,
            batch,
            json,
        } => {
            let config = var_model::TransformerConfig {
                depth,
                // What does not fit is refused by the check of the whole configuration.
                width: width.unwrap_or(depth.saturating_mul(64)),
                heads: heads.unwrap_or(depth),
                classes,
                vocabulary,
                latent_channels,
                schedule: schedule.parse()?,
                shared_adaln,
                qk_norm: true,
                input: None,
            };
            commands::cost(&config, batch, json)
        }
        Command::Golden { folders, .. } => {
            var_tokenizer::golden::print_json(&folders, golden::check);
            Ok(())
        }
    }
}

fn main() -> ExitCode {
    torch::start();
    let cli = Cli::parse();
    match torch::guarded(|| run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tell(format_args!("error: {e}"));
            ExitCode::from(e.exit_code() as u8)
        }
    }
}
