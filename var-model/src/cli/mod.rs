//! Flags of the subcommands, a file each.

mod check_device;
mod convert;
mod cost;
mod edit;
mod fetch;
mod inspect;
mod sample;
mod serve;
mod speed;

use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use var_model::commands::portable;
use var_model::source::ModelSource;
use var_model::{Error, ScaleSchedule, golden};
use var_tokenizer::command_line::Given;
use var_tokenizer::progress::{Progress, Show};
use var_tokenizer::torch::{DeviceChoice, Precision};

/// A whole number from 1 to `most`.
fn up_to(most: usize) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=most as u64)
}

#[derive(Parser)]
#[command(
    name = "var-model",
    version,
    about = "Samples images from VAR transformers, edits photos, and computes costs"
)]
#[command(after_help = "Examples:
  var-model sample --out grid.png                        a grid of images from the built-in model
  var-model sample --run runs/small --out samples.npz    from a run folder, for evaluators
  var-model sample --model var-d16 --classes goldfish --out grid.png    published weights
  var-model sample --model var_d16.pth --tokenizer vae_ch160v4096z32.pth --classes goldfish \\
      --out grid.png
  var-model edit --image photo.jpg --mask mask.png --out edited.png
  var-model serve --open                                 a page in the browser: sample and edit
  var-model inspect var_d16.pth                          tensors, configuration, FLOPs
  var-model cost --depth 16                              parameters, FLOPs and memory of a size
  var-model speed --depth 16                             images per second, next-scale and raster
  var-model check-device --device cuda                   is a GPU right, and how fast is it
Run `var-model COMMAND --help` for the options and more examples.")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Sample images into a grid, an archive or a folder
    Sample(Box<sample::Sample>),
    /// Edit a photo: in-painting, out-painting, or another class
    Edit(Box<edit::Edit>),
    /// Sample and edit images on a page in the browser
    Serve(Box<serve::Serve>),
    /// Fetch published weights into the cache, or list their names
    Fetch(fetch::Fetch),
    /// Show the tensors, configuration and cost of a weight file
    Inspect(inspect::Inspect),
    /// Convert weights between .pth and .safetensors
    Convert(convert::Convert),
    /// Compute parameters, FLOPs and memory of a model size
    Cost(cost::Cost),
    /// Time sampling against the batch size, next to what the machine can do
    Speed(speed::Speed),
    /// Write files like the released ones with portable weights, for checks and timings
    #[command(hide = true)]
    Portable {
        /// Golden case whose networks are meant
        #[arg(long)]
        case: Option<PathBuf>,
        /// Published size instead
        #[arg(long)]
        depth: Option<usize>,
        #[arg(long, value_enum, default_value = "f32")]
        dtype: convert::Dtype,
        /// Folder for vae.pth and var.pth
        #[arg(long)]
        out: PathBuf,
    },
    /// Check that a device is right, and measure how fast it is
    CheckDevice(check_device::CheckDevice),
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
        !matches!(self.command, Command::Inspect(_) | Command::Cost(_) | Command::Fetch(_))
    }

    /// Does what the flags ask for; the person gave those in `given`.
    pub fn run(self, given: Given) -> Result<(), Error> {
        match self.command {
            Command::Sample(sample) => sample.run(given),
            Command::Serve(serve) => serve.run(),
            Command::Convert(convert) => convert.run(),
            Command::Fetch(fetch) => fetch.run(),
            Command::Inspect(inspect) => inspect.run(),
            Command::Edit(edit) => edit.run(given),
            Command::Cost(cost) => cost.run(),
            Command::Speed(speed) => speed.run(),
            Command::CheckDevice(check) => check.run(),
            Command::Portable { case, depth, dtype, out } => {
                portable::write(case.as_deref(), depth, dtype.kind(), &out)
            }
            Command::Golden { device, folders, .. } => {
                var_tokenizer::golden::compute_on(device.resolve()?);
                var_tokenizer::golden::print_json(&folders, golden::check);
                Ok(())
            }
        }
    }
}

/// Which model, and where to compute.
#[derive(Args)]
struct ModelArgs {
    /// Run folder of `var-train model` (default without --model: the built-in model, for emoji)
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    run: Option<PathBuf>,
    /// Use the averaged weights of the run (trained with `--set ema=…`)
    #[arg(long, requires = "run")]
    ema: bool,
    /// Model file instead of a run folder: a released .pth, a trainer's checkpoint, a .safetensors, or the index of
    /// several; a published name, such as var-d16 (`var-model fetch` lists them), or hf:OWNER/REPO/FILE; or `builtin`
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Which model to use if the file has several (`var-model inspect` lists them)
    #[arg(long, value_name = "NAME", requires = "model")]
    part: Option<String>,
    /// Tokenizer file, published name, or `builtin` (default: the tokenizer in the run folder or in the trainer's
    /// checkpoint, or the one of a published model)
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<String>,
    /// Class names: a JSON list, or one name per line (default: the names in the run folder; ImageNet's names if there
    /// are 1000 classes)
    #[arg(long, value_name = "FILE")]
    class_names: Option<PathBuf>,
    /// Sides of the token maps, if the files do not contain them
    #[arg(long, value_name = "SIDES", allow_hyphen_values = true)]
    schedule: Option<ScaleSchedule>,
    /// Number of heads, if the file does not contain it (default: 64 channels per head)
    #[arg(long)]
    heads: Option<usize>,
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Precision: f32, bf16, or auto, which uses the faster of the two on this machine
    #[arg(long, default_value = "auto")]
    precision: Precision,
}

impl From<ModelArgs> for ModelSource {
    fn from(args: ModelArgs) -> Self {
        let ModelArgs { run, ema, model, part, tokenizer, class_names, schedule, heads, device, precision } =
            args;
        Self { run, ema, model, part, tokenizer, class_names, schedule, heads, device, precision }
    }
}

/// How much is said along the way.
#[derive(Args)]
struct ShowArgs {
    /// Print progress and result as JSON lines
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl ShowArgs {
    fn progress(&self) -> Progress {
        Progress::new(Show::from_flags(self.json, self.quiet))
    }
}
