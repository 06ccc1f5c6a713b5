//! Command line of the trainer.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use var_tokenizer::progress::{Progress, Show, tell};
use var_tokenizer::torch::{self, DeviceChoice, Precision};
use var_train::commands::{self, Common};
use var_train::distributed::{self, Place, launch};
use var_train::{Error, golden};

#[derive(Parser)]
#[command(name = "var-train", version, about = "Trains the tokenizer and the VAR transformer")]
#[command(after_help = "Examples:
  var-train tokenizer --data photos/ --out runs/tokenizer
  var-train model --tokens tokens.h5 --preset nano --depth 3 --width 96 --heads 3 --out runs/small
  var-train model … --out runs/small --resume
  var-train model … --out runs/large --nproc 4          (four processes, one run)")]
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
    /// Check that ranks find each other, and that sums over them are right
    #[command(after_help = "Examples:
  var-train check-ranks --nproc 4
  srun var-train check-ranks")]
    CheckRanks {
        #[command(flatten)]
        ranks: RankArgs,
        /// What every rank found, as JSON lines on standard output
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
    /// auto, cpu, cuda or cuda:N; ranks of one machine take the GPUs from N on, one each
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// auto (measures), f32, bf16, or fp16 for models on CUDA
    #[arg(long, default_value = "auto")]
    precision: Precision,
    #[command(flatten)]
    ranks: RankArgs,
    /// Share the optimizer's moments out over the ranks (ZeRO, stage 1): 8 bytes a parameter less, but for this
    /// rank's part; one rank has nothing to share
    #[arg(long)]
    zero: bool,
    /// Progress and result as JSON lines on standard output
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// No progress
    #[arg(long)]
    quiet: bool,
}

#[derive(Args)]
struct RankArgs {
    /// Work as this many processes on this machine; 1 ignores what torchrun or SLURM say
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    nproc: Option<u32>,
    /// How long ranks wait for each other before they give up
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl RankArgs {
    /// Where this process stands among others, and how many the run will have.
    fn place(&self) -> Result<(Option<Place>, usize), Error> {
        let wanted = self.nproc.map(|n| n as usize);
        if launch::is_launched()? {
            let place = Place::from_environment()?;
            let ranks = place.as_ref().map_or(1, |place| place.world);
            return Ok((place, ranks));
        }
        match wanted {
            Some(1) => Ok((None, 1)),
            Some(n) if std::env::var_os("RANK").is_some() => Err(Error::config(format!(
                "--nproc {n} starts ranks, and this process is one already (RANK is set); leave --nproc away"
            ))),
            Some(n) => Ok((None, n)),
            None => {
                let place = Place::from_environment()?;
                let ranks = place.as_ref().map_or(1, |place| place.world);
                Ok((place, ranks))
            }
        }
    }
}

impl CommonArgs {
    /// Whether this process is to start the ranks and do nothing else.
    fn launches(&self, place: Option<&Place>, ranks: usize) -> bool {
        ranks > 1 && place.is_none() && !self.dry_run && !self.check
    }

    fn split(self, preset: String, place: Option<Place>, ranks: usize) -> (Common, Progress) {
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
            place,
            ranks,
            zero: self.zero,
            timeout: Duration::from_secs(self.ranks.timeout),
            quiet: self.quiet,
        };
        (common, Progress::new(show))
    }
}

/// Does what was asked for; gives the exit status.
fn run(command: Command) -> Result<u8, Error> {
    match command {
        Command::Model { tokens, tokenizer, depth, width, heads, preset, common } => {
            let (place, ranks) = common.ranks.place()?;
            let launches = common.launches(place.as_ref(), ranks);
            let (mut common, mut progress) = common.split(preset, place, ranks);
            // The size flags are short for settings; what --set says comes after them. A depth alone means
            // the published width and heads.
            let width = width.or(depth.map(|_| 0));
            let heads = heads.or(depth.map(|_| 0));
            let size = [("depth", depth), ("width", width), ("heads", heads)];
            let size = size.iter().filter_map(|(key, value)| Some(format!("model.{key}={}", (*value)?)));
            common.set = size.chain(common.set).collect();
            let tokens = tokens.unwrap_or_default();
            if launches {
                // What can be refused is said once, and not by every rank.
                commands::check_model(&common, &tokens, &tokenizer)?;
                return launch::launch(ranks);
            }
            commands::model(&common, &tokens, &tokenizer, &mut progress)?;
            Ok(0)
        }
        Command::Tokenizer { data, preset, common } => {
            let (place, ranks) = common.ranks.place()?;
            let (common, mut progress) = common.split(preset, place, ranks);
            commands::tokenizer(&common, &data.unwrap_or_default(), &mut progress)?;
            Ok(0)
        }
        Command::CheckRanks { ranks, json } => {
            let (place, count) = ranks.place()?;
            if place.is_none() && count > 1 {
                return launch::launch(count);
            }
            commands::check_ranks(place.as_ref(), Duration::from_secs(ranks.timeout), json)?;
            Ok(0)
        }
        Command::Golden { folders, .. } => {
            var_tokenizer::golden::print_json(&folders, golden::check);
            Ok(0)
        }
    }
}

fn main() -> ExitCode {
    let (cli, _) = var_tokenizer::command_line::parse::<Cli>();
    torch::start();
    let status = match torch::guarded(|| run(cli.command)) {
        Ok(status) => status,
        // Ranks are interrupted by those who manage them, to whom another status would be a failure.
        Err(e @ Error::Interrupted { .. }) if distributed::is_rank() => {
            if distributed::speaks() {
                tell(&e);
            }
            0
        }
        Err(e) => {
            // What all ranks come to know is said once, by rank 0.
            let common = matches!(e, Error::Interrupted { .. } | Error::Diverged(_));
            if !common || distributed::speaks() {
                tell(format_args!("error: {e}"));
            }
            e.exit_code()
        }
    };
    distributed::end(status);
    ExitCode::from(status)
}
