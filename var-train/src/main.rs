//! Command line of the trainer.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use var_tokenizer::progress::{Progress, Show, tell};
use var_tokenizer::torch::{self, DeviceChoice, Precision};
use var_train::commands::{self, Common};
use var_train::{Error, golden};

#[derive(Parser)]
#[command(name = "var-train", version, about = "Trains the tokenizer and the VAR transformer")]
#[command(after_help = "Examples:
  var-train tokenizer --data photos/ --out runs/tokenizer
  var-train model --tokens tokens.h5 --preset nano --depth 3 --width 96 --heads 3 --out runs/small
  var-train model … --out runs/small --resume")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a transformer on a token file
    #[command(after_help = "Examples:
  var-train model --tokens tokens.h5 --tokenizer builtin --preset nano --depth 3 --width 96 --heads 3 --out runs/small
  var-train model --tokens tokens.h5 --tokenizer tokenizer.safetensors --depth 16 --set batch=768 --out runs/d16
  var-train model … --out runs/small --resume        (go on after a kill; same flags)")]
    Model {
        /// Token file of `var-tokenizer encode`
        #[arg(long, value_name = "FILE", required_unless_present = "check")]
        tokens: Option<PathBuf>,
        /// The tokenizer that made it: a file, or `builtin`
        #[arg(long, default_value = "builtin", value_name = "FILE")]
        tokenizer: String,
        /// Blocks
        #[arg(long)]
        depth: Option<usize>,
        /// Channels (default 64 × depth)
        #[arg(long)]
        width: Option<usize>,
        /// Heads (default: depth)
        #[arg(long)]
        heads: Option<usize>,
        /// Settings that the run starts from: published, nano
        #[arg(long, default_value = "published")]
        preset: String,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Train a tokenizer on pictures
    #[command(after_help = "Examples:
  var-train tokenizer --data emoji --out runs/tokenizer
  var-train tokenizer --data photos/ --preset nano --set steps=5000 --out runs/tokenizer
  var-train tokenizer --data cifar-10-binary.tar.gz --set vocabulary=1024 --out runs/cifar-tokenizer")]
    Tokenizer {
        /// Pictures: a folder of class folders, a tar, an npz, CIFAR binaries, or `emoji`
        #[arg(long, value_name = "PATH", required_unless_present = "check")]
        data: Option<String>,
        /// Settings that the run starts from: nano, published
        #[arg(long, default_value = "nano")]
        preset: String,
        #[command(flatten)]
        common: CommonArgs,
    },
    /// Check golden cases; prints JSON lines
    #[command(hide = true)]
    Golden {
        #[arg(long)]
        json: bool,
        folders: Vec<PathBuf>,
    },
}

#[derive(Args)]
struct CommonArgs {
    /// Run folder
    #[arg(long, value_name = "DIR", required_unless_present = "check")]
    out: Option<PathBuf>,
    /// TOML file over the preset
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting over preset and file, e.g. --set learning_rate=3e-4
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Go on from the newest whole checkpoint in the run folder
    #[arg(long)]
    resume: bool,
    /// Print size, FLOPs, memory and time, train nothing
    #[arg(long)]
    dry_run: bool,
    /// Check settings, device and precision, and end; needs neither data nor a run folder
    #[arg(long, hide = true)]
    check: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// auto (measures), f32, bf16, or fp16 for models on CUDA
    #[arg(long, default_value = "auto")]
    precision: Precision,
    /// Progress and result as JSON lines on standard output
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// No progress
    #[arg(long)]
    quiet: bool,
}

impl CommonArgs {
    fn split(self, preset: String) -> (Common, Progress) {
        let show = Show::from_flags(self.json, self.quiet);
        let common = Common {
            // Absent only with --check, which touches no folder.
            out: self.out.unwrap_or_default(),
            preset,
            config: self.config,
            set: self.set,
            resume: self.resume,
            dry_run: self.dry_run,
            check: self.check,
            device: self.device,
            precision: self.precision,
        };
        (common, Progress::new(show))
    }
}

fn run(command: Command) -> Result<(), Error> {
    match command {
        Command::Model { tokens, tokenizer, depth, width, heads, preset, common } => {
            let (mut common, mut progress) = common.split(preset);
            // The size flags are short for settings; what --set says comes after them. A depth alone means
            // the published width and heads.
            let width = width.or(depth.map(|_| 0));
            let heads = heads.or(depth.map(|_| 0));
            let size = [("depth", depth), ("width", width), ("heads", heads)];
            let size = size.iter().filter_map(|(key, value)| Some(format!("model.{key}={}", (*value)?)));
            common.set = size.chain(common.set).collect();
            commands::model(&common, &tokens.unwrap_or_default(), &tokenizer, &mut progress)
        }
        Command::Tokenizer { data, preset, common } => {
            let (common, mut progress) = common.split(preset);
            commands::tokenizer(&common, &data.unwrap_or_default(), &mut progress)
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
