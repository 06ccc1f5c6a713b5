//! The command line: flags, and the functions that they call.

mod compare;
mod devices;
mod fit;
mod forecast;
mod launch;
mod status;
mod tables;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use var_scaling::error::{Error, Remedy, Result};
use var_scaling::fit::FitOptions;
use var_scaling::plan::SweepPlan;
use var_scaling::plot::score_curve::ScoreCurve;
use var_scaling::request::SweepRequest;
use var_scaling::settings::MAX_SEEDS;
use var_scaling::sweep::{self, SweepOptions, child};
use var_scaling::{ladder, preset, report};
use var_tokenizer::progress::{say, tell};
use var_tokenizer::torch::{DeviceChoice, Precision};

/// Train models of several sizes, fit scaling laws, and write a report
#[derive(Parser)]
#[command(name = "var-scaling", version)]
#[command(after_help = "Examples:
  var-scaling sweep                                      (built-in emoji, six sizes, report)
  var-scaling compare                                    (next-scale prediction against raster scan)
  var-scaling plan --preset paper-256                    (parameters, compute and time)
  var-scaling fit runs/sweep-emoji-nano --irreducible loss_all=3.2
  var-scaling report runs/sweep-emoji-nano")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train all sizes, then fit, plot and report; resumes an interrupted sweep
    #[command(after_help = "Examples:
  var-scaling sweep                                      (built-in emoji, six sizes)
  var-scaling sweep --data photos/                       (your images; trains a tokenizer first)
  var-scaling sweep --data cifar-10-binary.tar.gz --preset cifar-nano --out runs/cifar
  var-scaling sweep --sizes nano-long --seeds 3 --jobs 4 --out runs/seeds
  var-scaling sweep --dry-run --preset paper-256 --accelerator a100 --ranks 64
  var-scaling sweep --data photos.tar --preset gpu.toml --slurm job.sh --retries 3
  var-scaling sweep --list-presets

To resume after an interruption or a failure, run the same command again.
Exit status: 0 all sizes done, 1 something failed, 2 bad input, 3 interrupted.")]
    Sweep(Box<SweepArgs>),
    /// Compare several sweeps that differ in one thing: distances of samples, losses, times, report
    Compare(Box<compare::Compare>),
    /// Print the plan of a sweep without starting it (same as `sweep --dry-run`)
    #[command(after_help = "Examples:
  var-scaling plan                                       (the built-in sweep)
  var-scaling plan --preset paper-256 --accelerator h100 --ranks 64 --price 2.5
  var-scaling plan --preset paper-256 --flops-rate 4e15
  var-scaling plan --data photos/ --sizes small --set steps=2000
  var-scaling plan --sizes 2x64,3x96 --seeds 3 --json

With --data, it counts the images. Without, it uses the numbers of the preset.")]
    Plan(PlanArgs),
    /// Fit scaling laws to the results of a sweep or to any table, and write fits.json
    Fit(Box<fit::Fit>),
    /// Forecast the loss of a model that was not trained, from the results of a sweep
    Forecast(forecast::ForecastArgs),
    /// Show which sizes of a sweep are finished, running or waiting
    Status(status::StatusArgs),
    /// Draw the plots of a sweep (SVG and PNG)
    #[command(after_help = "Example:\n  var-scaling plot runs/sweep-emoji-nano")]
    Plot {
        /// Sweep folder
        folder: PathBuf,
    },
    /// Plot a score against a setting of sampling, measured by `cargo xtask eval-fid --sweep`
    #[command(after_help = "Example:\n  var-scaling curve runs/small/evaluation/sweep-cfg.json")]
    Curve {
        /// JSON file with title, subtitle, x, y and points; the plots (SVG and PNG) go next to it
        file: PathBuf,
    },
    /// Write report.html of a sweep
    #[command(after_help = "Example:\n  var-scaling report runs/sweep-emoji-nano")]
    Report {
        /// Sweep folder
        folder: PathBuf,
    },
    /// Runs a program that ends when its parent ends
    #[command(name = child::GUARD, hide = true)]
    Guarded {
        parent: u32,
        program: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Args)]
struct PlanArgs {
    /// Preset name or TOML file [default: emoji-nano; with --data cifar-nano]
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Images: class folders, a tar, WebDataset or Parquet shards, a text list, an npz, CIFAR binaries, or `emoji`
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// Sizes and ladders, separated by commas, for example d16,3x96 or nano [default: from the preset]
    #[arg(long, value_name = "LIST")]
    sizes: Option<String>,
    /// Sizes that no law is fitted to: they are forecast, then trained [default: from the preset; with --sizes none]
    #[arg(long, value_name = "LIST")]
    held_out: Option<String>,
    /// Tokenizer file, or `builtin` [default: from the preset]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<String>,
    /// Train a tokenizer first, even if the preset names one
    #[arg(long, conflicts_with = "tokenizer")]
    train_tokenizer: bool,
    #[command(flatten)]
    trainings: TrainingArgs,
    #[command(flatten)]
    devices: devices::DeviceArgs,
    /// List presets and ladders
    #[arg(long)]
    list_presets: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// What all trainings of a command have.
#[derive(Args)]
struct TrainingArgs {
    /// Seed for encoding, training and samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of trainings per size, with consecutive seeds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MAX_SEEDS))]
    seeds: u64,
    /// Setting for all trainings, for example --set steps=800; see `var-train model --help`
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Assumed speed for the estimated times, in FLOPs per second [default: two CPU cores]
    #[arg(long, value_name = "N")]
    flops_rate: Option<f64>,
}

impl TrainingArgs {
    /// A request with these settings.
    fn request(&self) -> Result<SweepRequest> {
        if self.flops_rate.is_some_and(|r| !r.is_finite() || r <= 0.0) {
            return Err(Error::config("--flops-rate: expected a number above 0, for example 4e14"));
        }
        Ok(SweepRequest {
            seed: self.seed,
            seeds: self.seeds,
            set: self.set.clone(),
            flops_rate: self.flops_rate,
            ..SweepRequest::default()
        })
    }
}

#[derive(Args)]
struct SweepArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Sweep folder [default: runs/sweep-PRESET]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print parameters, tokens, FLOPs, memory and time of each size; start nothing
    #[arg(long)]
    dry_run: bool,
    /// Device: auto, cpu, cuda or cuda:N [default: auto]
    #[arg(long, value_parser = valid::<DeviceChoice>)]
    device: Option<String>,
    /// Precision: auto, f32 or bf16 [default: auto]
    #[arg(long, value_parser = valid::<Precision>)]
    precision: Option<String>,
    /// Sizes to train from the beginning, separated by commas, or `tokens` to encode again; finished sizes cannot start over; old
    /// files are renamed
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    start_over: Vec<String>,
    #[command(flatten)]
    launch: launch::LaunchArgs,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    fit: FitArgs,
}

#[derive(Args)]
struct FitArgs {
    /// Irreducible part of the laws of a metric (loss_all, loss_last, err_all or err_last): a number, or `fitted` [default: losses
    /// fitted, errors 0]
    #[arg(long, value_name = "METRIC=VALUE")]
    irreducible: Vec<String>,
}

/// Checks a text for the other programs.
fn valid<T: FromStr<Err: std::fmt::Display>>(text: &str) -> std::result::Result<String, String> {
    text.parse::<T>().map(|_| text.to_owned()).map_err(|e| e.to_string())
}

impl FitArgs {
    fn options(&self) -> Result<FitOptions> {
        let mut options = FitOptions::default();
        let mut metrics = Vec::new();
        for assignment in &self.irreducible {
            options.set(assignment)?;
            let metric = assignment.split('=').next().unwrap_or_default().trim();
            if metrics.contains(&metric) {
                return Err(Error::config(format!("--irreducible {metric} is given twice; give one value")));
            }
            metrics.push(metric);
        }
        Ok(options)
    }
}

impl PlanArgs {
    /// The table of `plan`, with the flags that make its numbers more exact.
    fn table(&self, plan: &SweepPlan) -> String {
        let mut text = tables::plan(plan);
        if self.trainings.flops_rate.is_none() && plan.devices.is_none() {
            text.push_str("\nhint: --flops-rate N or --accelerator NAME assume another speed");
        }
        if plan.images.source.is_none() {
            text.push_str("\nhint: --data PATH counts your images");
        }
        text
    }

    fn plan(&self) -> Result<SweepPlan> {
        SweepPlan::new(&SweepRequest {
            preset: self.preset.clone(),
            data: self.data.clone(),
            sizes: self.sizes.clone(),
            held_out: self.held_out.clone(),
            tokenizer: self.tokenizer.clone(),
            train_tokenizer: self.train_tokenizer,
            devices: self.devices.devices()?,
            ..self.trainings.request()?
        })
    }
}

/// The flag that helps after `error`, if there is one.
pub fn flag_after(error: &Error) -> Option<String> {
    match error {
        Error::CannotResume { remedy: Remedy::NewSweep, .. } => Some("--out DIR".into()),
        Error::CannotResume { remedy: Remedy::StartOver(name), .. } => Some(format!("--start-over {name}")),
        Error::NoImages { .. } => Some("--data PATH".into()),
        _ => None,
    }
}

/// Runs the command.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Sweep(args) => run_sweep(&args)?,
        Command::Plan(args) => show_plan(&args)?,
        Command::Compare(args) => args.run()?,
        Command::Fit(args) => args.run()?,
        Command::Forecast(args) => args.run()?,
        Command::Status(args) => args.run()?,
        Command::Plot { folder } => {
            let (figures, skipped) = report::draw(&folder)?;
            warn(&skipped);
            for figure in figures {
                say(folder.join("plots").join(format!("{}.svg", figure.stem)).display())?;
            }
        }
        Command::Curve { file } => {
            let drawing = ScoreCurve::read(&file)?.drawing();
            let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let folder = file.parent().unwrap_or(Path::new(""));
            drawing.write(folder, &stem)?;
            say(folder.join(format!("{stem}.svg")).display())?;
        }
        Command::Report { folder } => {
            let (path, skipped) = report::write(&folder)?;
            warn(&skipped);
            say(path.display())?;
        }
        Command::Guarded { parent, program, arguments } => {
            match child::guard(parent, &program, &arguments)? {}
        }
    }
    Ok(())
}

/// Prints what was skipped in the files of a sweep.
fn warn(skipped: &[String]) {
    for what in skipped {
        tell(format_args!("warning: {what}"));
    }
}

fn list_presets() -> Result<()> {
    let presets = preset::list().into_iter().map(|(name, about)| format!("  {name:<14} {about}\n"));
    Ok(say(format_args!(
        "Presets:\n{}Ladders:\n{}",
        presets.collect::<String>(),
        ladder::describe().trim_end()
    ))?)
}

fn show_plan(args: &PlanArgs) -> Result<()> {
    if args.list_presets {
        return list_presets();
    }
    let plan = args.plan()?;
    Ok(if args.json { say(plan.json()) } else { say(args.table(&plan)) }?)
}

fn run_sweep(args: &SweepArgs) -> Result<()> {
    if args.dry_run || args.plan.list_presets {
        return show_plan(&args.plan);
    }
    let plan = args.plan.plan()?;
    if plan.devices.is_some() {
        return Err(Error::config(
            "--accelerator is for plans: a sweep trains on this machine; add --dry-run, or leave it out",
        ));
    }
    // Without images, a sweep fails before it prints the table.
    plan.data()?;
    let out = args.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("sweep-{}", plan.name)));
    let options = SweepOptions {
        out: out.clone(),
        device: args.device.clone(),
        precision: args.precision.clone(),
        launch: args.launch.options()?,
        quiet: args.quiet,
        start_over: args.start_over.clone(),
        fit: args.fit.options()?,
    };
    if !args.quiet {
        tell(format_args!("{} in {}:\n{}", plan.name, out.display(), args.plan.table(&plan)));
    }
    if args.launch.render_only {
        for script in sweep::render(&plan, &options)? {
            say(script.display())?;
        }
        return Ok(());
    }
    let outcome = sweep::sweep(&plan, &options)?;
    if args.plan.json { say(outcome.json()) } else { say(tables::outcome(&outcome, &out)?) }?;
    if outcome.failed.is_empty() {
        return Ok(());
    }
    Err(Error::Incomplete { failed: outcome.failed.len(), all: plan.runs.len() })
}
