//! Flags of the subcommands.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand};
use var_tokenizer::encode::{self, EncodeRequest};
use var_tokenizer::h5::check::{CheckH5, check_in_child};
use var_tokenizer::join::{self, JoinRequest};
use var_tokenizer::progress::{Progress, Show, say};
use var_tokenizer::reconstruct::{self, ReconstructRequest, ReconstructSummary};
use var_tokenizer::tokens::{START_OVER, Shard, TokenFile};
use var_tokenizer::torch::{DeviceChoice, Precision};
use var_tokenizer::{Error, Result, ScaleSchedule, golden, inspect};

#[derive(Parser)]
#[command(name = "var-tokenizer", version, about = "Multi-scale VQ-VAE: images to tokens and back")]
#[command(after_help = "Examples:
  var-tokenizer encode --data emoji --out tokens.h5
  var-tokenizer reconstruct --data photos/ --tokenizer t.safetensors --out grid.png
  var-tokenizer inspect tokens.h5")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// Flags of the subcommands that compute.
#[derive(Args)]
struct Run {
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Precision: f32, bf16, or auto, which uses the faster of the two on this machine
    #[arg(long, default_value = "f32")]
    precision: Precision,
    /// Print progress and result as JSON lines
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl Run {
    fn progress(&self) -> Progress {
        Progress::new(Show::from_flags(self.json, self.quiet))
    }
}

#[derive(Subcommand)]
enum Command {
    /// Encode images into a token file. The same command resumes an interrupted one
    #[command(after_help = "Examples:
  var-tokenizer encode --data emoji --crops 2 --flip --out tokens.h5
  var-tokenizer encode --data photos/ --tokenizer runs/tokenizer/tokenizer.safetensors \\
      --out tokens.h5
  var-tokenizer encode --data cifar-10-binary.tar.gz --tokenizer t.safetensors --limit 20000 \\
      --out tokens.h5
  var-tokenizer encode --data 'shards/{000000..001281}.tar' --tokenizer t.safetensors \\
      --out tokens.h5
  var-tokenizer encode --data 'imagenet-1k/data/*.parquet' --tokenizer t.safetensors --out tokens.h5
  var-tokenizer encode --data images.tsv --tokenizer t.safetensors --out tokens.h5
  var-tokenizer encode --data photos/ --tokenizer t.safetensors --shard 3/8 --out parts/3.h5")]
    Encode {
        /// Images: class folders, a tar, WebDataset or Parquet shards, a text list, an npz, CIFAR binaries, or `emoji`
        #[arg(long, value_name = "PATH")]
        data: String,
        /// Tokenizer file, or `builtin`
        #[arg(long, default_value = "builtin", value_name = "FILE")]
        tokenizer: String,
        /// Sides of the token maps, if not those of the tokenizer
        #[arg(long, value_name = "SIDES", allow_hyphen_values = true)]
        schedule: Option<ScaleSchedule>,
        /// Token file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Views of each training image: the centre, then random crops
        #[arg(long, default_value_t = 1)]
        crops: usize,
        /// Mirror every second view
        #[arg(long)]
        flip: bool,
        /// Maximum number of training images; 0: all
        #[arg(long, default_value_t = 0)]
        limit: usize,
        /// Maximum number of held-out images; 0: all
        #[arg(long, default_value_t = 0)]
        limit_held_out: usize,
        /// Seed of the crops and of the choice of images
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Images encoded together
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
        batch: u64,
        /// Encode part I of N, from 1/N to N/N, into a file of its own; `join` joins all parts. At most 512; not with
        /// --precision auto
        #[arg(long, value_name = "I/N")]
        shard: Option<Shard>,
        /// Delete an unfinished file and start again
        #[arg(long)]
        restart: bool,
        #[command(flatten)]
        run: Run,
    },
    /// Join the parts of a token file that `encode --shard` wrote
    #[command(
        after_help = "All parts must be there, each once, made from the same images with the same settings.

Examples:
  var-tokenizer join parts/ --tokenizer t.safetensors --out tokens.h5
  var-tokenizer join 'parts/{1..8}.h5' --tokenizer t.safetensors --out tokens.h5"
    )]
    Join {
        /// The parts: files, folders with .h5 files, or patterns
        #[arg(required = true, value_name = "PARTS")]
        parts: Vec<PathBuf>,
        /// Tokenizer file, or `builtin`: the one that made the parts
        #[arg(long, default_value = "builtin", value_name = "FILE")]
        tokenizer: String,
        /// Token file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Device for the statistics: auto, cpu, cuda or cuda:N
        #[arg(long, default_value = "auto")]
        device: DeviceChoice,
        /// Print progress and result as JSON lines
        #[arg(long, conflicts_with = "quiet")]
        json: bool,
        /// Show no progress
        #[arg(long)]
        quiet: bool,
    },
    /// Reconstruct held-out images: a grid to look at, or a folder to score
    #[command(after_help = "Each row of the grid shows an image, then its reconstruction after each scale.

Examples:
  var-tokenizer reconstruct --data emoji --out grid.png
  var-tokenizer reconstruct --data photos/ --tokenizer t.safetensors --count 16 --out grid.png

rFID, PSNR, SSIM and LPIPS of a tokenizer:
  var-tokenizer reconstruct --data photos/ --tokenizer t.safetensors --folder recon/
  var-eval reconstruction --reference recon/originals --samples recon/reconstructions --fd")]
    Reconstruct {
        /// Images, as for `encode`. The held-out ones are used
        #[arg(long, value_name = "PATH")]
        data: String,
        /// Tokenizer file, or `builtin`
        #[arg(long, default_value = "builtin", value_name = "FILE")]
        tokenizer: String,
        /// Sides of the token maps, if not those of the tokenizer
        #[arg(long, value_name = "SIDES", allow_hyphen_values = true)]
        schedule: Option<ScaleSchedule>,
        /// Grid file (PNG)
        #[arg(long, value_name = "FILE", required_unless_present = "folder")]
        out: Option<PathBuf>,
        /// New folder for all held-out images, with originals/ and reconstructions/ under the same names
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
        /// Number of images in the grid, evenly spread over the held-out ones
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
        count: u64,
        /// Images reconstructed together for the folder
        #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=4096))]
        batch: u64,
        #[command(flatten)]
        run: Run,
    },
    /// Describe a tokenizer file, a token file, or a source of images
    #[command(after_help = "Examples:
  var-tokenizer inspect builtin
  var-tokenizer inspect tokens.h5
  var-tokenizer inspect photos/")]
    Inspect {
        /// What to describe
        what: String,
    },
    /// Check a token file, in a process of its own
    #[command(name = "check-h5", hide = true)]
    CheckH5(CheckH5),
    /// Check golden cases; prints JSON lines
    #[command(hide = true)]
    Golden {
        #[arg(long)]
        json: bool,
        /// Device: auto, cpu, cuda or cuda:N
        #[arg(long, default_value_t = DeviceChoice::Cpu)]
        device: DeviceChoice,
        folders: Vec<PathBuf>,
    },
}

impl Cli {
    /// Whether it computes with tensors: then the process is prepared for that first.
    pub fn computes(&self) -> bool {
        !matches!(self.command, Command::Inspect { .. } | Command::CheckH5(_))
    }

    /// Does what the flags ask for.
    pub fn run(self) -> Result<()> {
        run(self.command)
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Encode {
            data,
            tokenizer,
            schedule,
            out,
            crops,
            flip,
            limit,
            limit_held_out,
            seed,
            batch,
            shard,
            restart,
            run,
        } => {
            let request = EncodeRequest {
                data,
                tokenizer,
                schedule,
                out,
                crops,
                flip,
                limit,
                limit_held_out,
                seed,
                batch: batch as usize,
                shard,
                restart,
                device: run.device,
                precision: run.precision,
            };
            if !restart {
                check_in_child(&request.out).map_err(encode::in_the_way)?;
            }
            let mut progress = run.progress();
            let summary = encode::encode(&request, &mut progress).map_err(with_restart)?;
            progress.note(&format!(
                "wrote {}: {} training and {} held-out rows, {:.0} images/s",
                request.out.display(),
                summary.train,
                summary.val,
                summary.images_per_second
            ));
            progress.event(&serde_json::json!(summary));
            Ok(())
        }
        Command::Join { parts, tokenizer, out, device, json, quiet } => {
            check_in_child(&out).map_err(encode::in_the_way)?;
            let parts = join::parts(&parts, &out)?;
            parts.iter().try_for_each(|part| check_in_child(part))?;
            let mut progress = Progress::new(Show::from_flags(json, quiet));
            let summary = join::join(&JoinRequest { parts, tokenizer, out, device }, &mut progress)?;
            if summary.bad > 0 {
                let listed = if summary.listed == summary.bad {
                    format!(", all listed in {}.bad.txt", summary.out)
                } else {
                    String::new()
                };
                progress.warn(&format!("left out {} images that cannot be read{listed}", summary.bad));
            }
            progress.note(&format!(
                "wrote {}: {} training and {} held-out rows of {} parts",
                summary.out, summary.train, summary.val, summary.parts
            ));
            progress.event(&serde_json::json!(summary));
            Ok(())
        }
        Command::Reconstruct { data, tokenizer, schedule, out, folder, count, batch, run } => {
            let request = ReconstructRequest {
                data,
                tokenizer,
                schedule,
                out,
                folder,
                count: count as usize,
                batch: batch as usize,
                device: run.device,
                precision: run.precision,
            };
            let mut progress = run.progress();
            let summary = reconstruct::reconstruct(&request, &mut progress)?;
            progress.note(&written(&summary));
            progress.event(&serde_json::json!(summary));
            Ok(())
        }
        Command::CheckH5(check) => check.run(TokenFile::check),
        Command::Inspect { what } => {
            check_in_child(Path::new(&what))?;
            inspect::describe(&what)?.iter().try_for_each(say)
        }
        Command::Golden { device, folders, .. } => {
            golden::compute_on(device.resolve()?);
            golden::print_json(&folders, golden::check);
            Ok(())
        }
    }
}

/// Adds the flag `--restart` to an error that advises to start over.
fn with_restart(e: Error) -> Error {
    match e {
        Error::File { path, message } if message.ends_with(START_OVER) => {
            Error::file(path, format!("{message} with --restart"))
        }
        other => other,
    }
}

/// Says what a reconstruction wrote.
fn written(summary: &ReconstructSummary) -> String {
    let places: Vec<&str> =
        [&summary.out, &summary.folder].into_iter().flatten().map(String::as_str).collect();
    format!(
        "wrote {}: {} images, PSNR {:.2} dB, L1 {:.4}",
        places.join(" and "),
        summary.images,
        summary.scores.psnr,
        summary.scores.l1
    )
}
