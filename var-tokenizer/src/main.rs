//! Command line of the tokenizer.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use var_tokenizer::encode::{self, EncodeRequest, HELD_OUT, SPLIT_SEED, typical_product};
use var_tokenizer::files::{check_lasting_place, check_place};
use var_tokenizer::images::{Framing, Grid, Source, Split, View, from_tensor};
use var_tokenizer::progress::{Progress, Show, say, tell};
use var_tokenizer::tokens::TokenFile;
use var_tokenizer::torch::{self, DeviceChoice, Precision};
use var_tokenizer::{Error, Result, ScaleSchedule, builtin, command_line, cost, golden};

#[derive(Parser)]
#[command(name = "var-tokenizer", version, about = "Multi-scale VQ-VAE: pictures to tokens and back")]
#[command(after_help = "Examples:
  var-tokenizer encode --data emoji --out tokens.h5
  var-tokenizer reconstruct --data photos/ --tokenizer t.safetensors --out grid.png
  var-tokenizer inspect tokens.h5")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Encode pictures into a token file; goes on where it was interrupted
    #[command(after_help = "Examples:
  var-tokenizer encode --data emoji --crops 2 --flip --out tokens.h5
  var-tokenizer encode --data photos/ --tokenizer runs/tokenizer/tokenizer.safetensors --out tokens.h5
  var-tokenizer encode --data cifar-10-binary.tar.gz --tokenizer t.safetensors --limit 20000 --out tokens.h5")]
    Encode {
        /// Pictures: a folder of class folders, a tar, an npz, CIFAR binaries, or `emoji`
        #[arg(long, value_name = "PATH")]
        data: String,
        /// Tokenizer file, or `builtin`
        #[arg(long, default_value = "builtin", value_name = "FILE")]
        tokenizer: String,
        /// Sides of the token maps, where the tokenizer's own are not meant
        #[arg(long, value_name = "SIDES", allow_hyphen_values = true)]
        schedule: Option<ScaleSchedule>,
        /// Token file to write
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Views of each training picture: the centre, then random crops
        #[arg(long, default_value_t = 1)]
        crops: usize,
        /// Make every other view a mirror image
        #[arg(long)]
        flip: bool,
        /// At most so many training pictures; 0: all
        #[arg(long, default_value_t = 0)]
        limit: usize,
        /// At most so many held-out pictures; 0: all
        #[arg(long, default_value_t = 0)]
        limit_held_out: usize,
        /// Seed of crops and limits
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Pictures encoded at once
        #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4096))]
        batch: u64,
        /// Throw an unfinished file away and start again
        #[arg(long)]
        restart: bool,
        /// auto, cpu, cuda or cuda:N
        #[arg(long, default_value = "auto")]
        device: DeviceChoice,
        /// auto (measures), f32 or bf16
        #[arg(long, default_value = "f32")]
        precision: Precision,
        /// Progress and result as JSON lines on standard output
        #[arg(long, conflicts_with = "quiet")]
        json: bool,
        /// No progress
        #[arg(long)]
        quiet: bool,
    },
    /// Write a grid: each row an original, then its reconstruction after each scale
    #[command(after_help = "Examples:
  var-tokenizer reconstruct --data emoji --out grid.png
  var-tokenizer reconstruct --data photos/ --tokenizer t.safetensors --count 16 --out grid.png")]
    Reconstruct {
        /// Pictures, as for encode; the held-out ones are shown
        #[arg(long, value_name = "PATH")]
        data: String,
        /// Tokenizer file, or `builtin`
        #[arg(long, default_value = "builtin", value_name = "FILE")]
        tokenizer: String,
        /// Sides of the token maps, where the tokenizer's own are not meant
        #[arg(long, value_name = "SIDES", allow_hyphen_values = true)]
        schedule: Option<ScaleSchedule>,
        /// Grid file (PNG)
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Pictures, evenly spread over the held-out ones
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
        count: u64,
        /// auto, cpu, cuda or cuda:N
        #[arg(long, default_value = "auto")]
        device: DeviceChoice,
        /// auto (measures), f32 or bf16
        #[arg(long, default_value = "f32")]
        precision: Precision,
        /// Scores as one JSON object on standard output
        #[arg(long)]
        json: bool,
    },
    /// Describe a tokenizer file, a token file, or a source of pictures
    #[command(after_help = "Examples:
  var-tokenizer inspect builtin
  var-tokenizer inspect tokens.h5
  var-tokenizer inspect photos/")]
    Inspect {
        /// What to describe
        what: String,
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
            restart,
            device,
            precision,
            json,
            quiet,
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
                restart,
                device,
                precision,
            };
            check_lasting_place(&request.out)?;
            let mut progress = Progress::new(Show::from_flags(json, quiet));
            let summary = encode::encode(&request, &mut progress)?;
            progress.note(&format!(
                "wrote {}: {} training and {} held-out rows, {:.0} images/s",
                request.out.display(),
                summary["train"],
                summary["val"],
                summary["images_per_second"].as_f64().unwrap_or(0.0)
            ));
            progress.event(&summary);
            Ok(())
        }
        Command::Reconstruct { data, tokenizer, schedule, out, count, device, precision, json } => {
            check_place(&out)?;
            let count = count as usize;
            let device = device.resolve()?;
            let opened = builtin::open(&tokenizer, schedule.as_ref(), device)?;
            opened.notes.iter().for_each(|note| tell(format_args!("note: {tokenizer}: {note}")));
            let mut vae = opened.tokenizer;
            vae.set_compute_kind(precision.resolve(device, typical_product(&vae, count))?);
            vae.freeze();
            reconstruct(&vae, &data, count, &out, json)
        }
        Command::Inspect { what } => inspect(&what),
        Command::Golden { folders, .. } => {
            golden::print_json(&folders, golden::check);
            Ok(())
        }
    }
}

fn reconstruct(vae: &var_tokenizer::VqVae, data: &str, count: usize, out: &Path, json: bool) -> Result<()> {
    let source = Source::open(data)?;
    let parts = source.partition(HELD_OUT, SPLIT_SEED)?;
    let held_out = parts.part(Split::Val);
    let stride = (held_out.len() / count.max(1)).max(1);
    let items: Vec<(usize, View)> =
        held_out.iter().step_by(stride).take(count).map(|&i| (i, View::CENTRE)).collect();
    let side = vae.config().image_side();
    let batch = source.load_batch(&items, &Framing::new(side)?);
    if batch.is_empty() {
        return Err(Error::file(data, "holds no held-out picture that can be read"));
    }
    let (rows, scores) = encode::reconstruct(vae, &batch.pixels, batch.len())?;
    let columns = vae.config().schedule.scales() + 1;
    let mut grid = Grid::new(batch.len(), columns, side)?;
    for (row, pictures) in rows.unbind(0).iter().enumerate() {
        for (column, picture) in from_tensor(pictures)?.iter().enumerate() {
            grid.put_picture(row, column, picture)?;
        }
    }
    grid.write(out)?;
    if json {
        say(serde_json::json!({"event": "done", "scores": scores, "out": out.display().to_string()}))?;
    } else {
        tell(format_args!(
            "wrote {}: {} pictures, PSNR {:.2} dB, L1 {:.4}",
            out.display(),
            batch.len(),
            scores["psnr"],
            scores["l1"]
        ));
    }
    Ok(())
}

fn inspect(what: &str) -> Result<()> {
    let path = Path::new(what);
    let weights = |e: &std::ffi::OsStr| ["safetensors", "pth", "pt", "ckpt"].iter().any(|w| e == *w);
    if what == builtin::NAME || path.extension().is_some_and(weights) {
        let (dict, config) = builtin::weights(what, None)?;
        say(format_args!("tokenizer   {what}\nSHA-256     {}", builtin::digest(what)?))?;
        say(format_args!("parameters  {}", cost::parameters(&config)))?;
        say(format_args!("pictures    {0}×{0}, f{1}", config.image_side(), config.downsampling()))?;
        say(format_args!("schedule    {} ({} tokens)", config.schedule, config.schedule.tokens()))?;
        say(format_args!("codebook    {} codes of {} channels", config.vocabulary, config.latent_channels))?;
        for (name, tensor) in &dict.tensors {
            say(format_args!("  {name:<50} {:?}", tensor.shape()))?;
        }
        return Ok(());
    }
    if path.extension().is_some_and(|e| e == "h5") {
        let file = TokenFile::open(path)?;
        let info = file.info();
        say(format_args!("tokens      {what}\ntokenizer   {}", info.tokenizer_sha256))?;
        say(format_args!(
            "rows        {} training, {} held out",
            file.rows(Split::Train),
            file.rows(Split::Val)
        ))?;
        say(format_args!("schedule    {} ({} tokens)", info.schedule, info.length()))?;
        say(format_args!("codebook    {} codes of {} channels", info.vocabulary, info.latent_channels))?;
        say(format_args!(
            "pictures    {0}×{0} from {1}; {2}",
            info.image_side, info.source, info.crop_policy
        ))?;
        say(format_args!("classes     {}: {}", info.classes(), info.class_names.join(", ")))?;
        return Ok(());
    }
    let source = Source::open(what)?;
    let parts = source.partition(HELD_OUT, SPLIT_SEED)?;
    say(format_args!(
        "pictures    {} ({} training, {} held out)",
        source.len(),
        parts.train.len(),
        parts.val.len()
    ))?;
    say(format_args!("classes     {}", source.classes().len()))?;
    for (class, name) in source.classes().iter().enumerate() {
        let count = source.entries().iter().filter(|e| e.class as usize == class).count();
        say(format_args!("  {name:<30} {count}"))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    torch::start();
    let (cli, _) = command_line::parse::<Cli>();
    match torch::guarded(|| run(cli.command)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            tell(format_args!("error: {e}"));
            ExitCode::from(e.exit_code() as u8)
        }
    }
}
