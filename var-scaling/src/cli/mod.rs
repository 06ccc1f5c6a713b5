//! Flags, and what they start.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Parser, Subcommand};
use var_scaling::error::{Error, Result};
use var_scaling::fit::means::NOT_MONOTONE;
use var_scaling::fit::{FitOptions, FitsFile};
use var_scaling::plan::Plan;
use var_scaling::plot::curve::Curve;
use var_scaling::preparation::Preparation;
use var_scaling::request::Request;
use var_scaling::result_line::ResultLine;
use var_scaling::settings::MAX_SEEDS;
use var_scaling::sweep::{self, Options, Outcome, child};
use var_scaling::words::{bytes, count, duration, flops};
use var_scaling::{ladder, preset, report};
use var_tokenizer::progress::{say, tell};
use var_tokenizer::torch::{DeviceChoice, Precision};

/// Trains ladders of models, fits scaling laws to them, and reports.
#[derive(Parser)]
#[command(name = "var-scaling", version)]
#[command(after_help = "Examples:
  var-scaling sweep                                      (built-in emoji, five sizes, report)
  var-scaling plan --preset imagenet-256                 (what that would take)
  var-scaling fit runs/sweep-emoji-nano --irreducible loss_all=3.2
  var-scaling report runs/sweep-emoji-nano")]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train every size of a ladder, then fit, plot and report; goes on where it stopped
    #[command(after_help = "Examples:
  var-scaling sweep                                      (built-in emoji, five sizes)
  var-scaling sweep --data photos/                       (your pictures, 32 pixels; trains a tokenizer first)
  var-scaling sweep --data cifar-10-binary.tar.gz --preset cifar-nano --out runs/cifar
  var-scaling sweep --sizes nano-long --seeds 3 --out runs/seeds
  var-scaling sweep --dry-run --preset imagenet-256 --flops-rate 4e15
  var-scaling sweep --list-presets

Run the same command again to go on after an interruption or a failure.
Exit status: 0 all sizes done, 1 something failed, 2 bad input, 3 interrupted.")]
    Sweep(Box<SweepArgs>),
    /// Print the table of a sweep without starting it (as `sweep --dry-run`)
    #[command(after_help = "Examples:
  var-scaling plan                                       (the built-in sweep)
  var-scaling plan --preset imagenet-256 --flops-rate 4e15
  var-scaling plan --data photos/ --sizes small --set steps=2000
  var-scaling plan --sizes 2x64,3x96 --seeds 3 --json

Pictures that are named are counted; without --data the preset's own numbers are taken.")]
    Plan(PlanArgs),
    /// Fit scaling laws to the results of a sweep; writes fits.json
    #[command(after_help = "Examples:
  var-scaling fit runs/sweep-emoji-nano
  var-scaling fit runs/cifar --irreducible loss_all=4.8 --irreducible loss_last=4.7
  var-scaling fit runs/cifar --irreducible err_all=fitted --json")]
    Fit {
        /// Sweep folder
        folder: PathBuf,
        #[command(flatten)]
        fit: FitArgs,
        /// fits.json on standard output
        #[arg(long)]
        json: bool,
    },
    /// Draw the plots of a sweep again, as SVG and PNG
    #[command(after_help = "Example:\n  var-scaling plot runs/sweep-emoji-nano")]
    Plot {
        /// Sweep folder
        folder: PathBuf,
    },
    /// Draw one score over one setting, as `cargo xtask eval-fid --sweep` measures it
    #[command(after_help = "Example:\n  var-scaling curve runs/small/evaluation/sweep-cfg.json")]
    Curve {
        /// JSON with title, subtitle, x, y and points; the plots lie beside it, as SVG and PNG
        file: PathBuf,
    },
    /// Write report.html of a sweep again
    #[command(after_help = "Example:\n  var-scaling report runs/sweep-emoji-nano")]
    Report {
        /// Sweep folder
        folder: PathBuf,
    },
    /// Becomes another program that ends with its parent
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
    /// Pictures: class folders, a tar, an npz, CIFAR's binary files, or `emoji`
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// Sizes and ladders, comma-separated: d16, 3x96, nano, … [default: the preset's]
    #[arg(long, value_name = "LIST")]
    sizes: Option<String>,
    /// Tokenizer file, or `builtin` [default: the preset's]
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<String>,
    /// Train the tokenizer first, whatever the preset says
    #[arg(long)]
    train_tokenizer: bool,
    /// Seed of pictures, training and samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Train every size so many times, with consecutive seeds
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=MAX_SEEDS))]
    seeds: u64,
    /// A setting of every `var-train model`, e.g. --set steps=800
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// FLOPs a second that estimated times assume
    #[arg(long, value_name = "N")]
    flops_rate: Option<f64>,
    /// List presets and ladders
    #[arg(long)]
    list_presets: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SweepArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Sweep folder [default: runs/sweep-PRESET]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print parameters, tokens, FLOPs, memory and time of every size, and stop
    #[arg(long)]
    dry_run: bool,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, value_parser = valid::<DeviceChoice>)]
    device: Option<String>,
    /// auto (measures), f32 or bf16
    #[arg(long, value_parser = valid::<Precision>)]
    precision: Option<String>,
    /// Train these unfinished sizes (or encode `tokens`) from the beginning; what they have is moved aside
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    start_over: Vec<String>,
    /// No progress
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    fit: FitArgs,
}

#[derive(Args)]
struct FitArgs {
    /// Irreducible part: METRIC=NUMBER or METRIC=fitted, of loss_all, loss_last, err_all, err_last
    #[arg(long, value_name = "METRIC=VALUE")]
    irreducible: Vec<String>,
}

/// Text that the other programs will read as a `T`.
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
    fn plan(&self) -> Result<Plan> {
        if self.flops_rate.is_some_and(|r| !r.is_finite() || r <= 0.0) {
            return Err(Error::config("--flops-rate must be above zero, e.g. 4e14"));
        }
        Plan::new(&Request {
            preset: self.preset.clone(),
            data: self.data.clone(),
            sizes: self.sizes.clone(),
            tokenizer: self.tokenizer.clone(),
            train_tokenizer: self.train_tokenizer,
            seed: self.seed,
            seeds: self.seeds,
            set: self.set.clone(),
            flops_rate: self.flops_rate,
        })
    }
}

/// Carries out the command.
pub fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Command::Sweep(args) => run_sweep(&args)?,
        Command::Plan(args) => show_plan(&args)?,
        Command::Fit { folder, fit, json } => {
            let (fits, skipped) = report::fit(&folder, &fit.options()?)?;
            warn(&skipped);
            if json {
                say(serde_json::to_string_pretty(&fits).unwrap_or_default())?;
            } else {
                say(format_args!("{}{}", laws(&fits), folder.join("fits.json").display()))?;
            }
        }
        Command::Plot { folder } => {
            let (figures, skipped) = report::draw(&folder)?;
            warn(&skipped);
            for figure in figures {
                say(folder.join("plots").join(format!("{}.svg", figure.stem)).display())?;
            }
        }
        Command::Curve { file } => {
            let drawing = Curve::read(&file)?.drawing();
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

/// Tells what was left out of the files of a sweep.
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
    let mut plan = args.plan()?;
    plan.notes.extend(sweep::check::shown(&plan)?);
    Ok(if args.json { say(plan.json()) } else { say(plan_table(&plan)) }?)
}

fn run_sweep(args: &SweepArgs) -> Result<()> {
    if args.dry_run || args.plan.list_presets {
        return show_plan(&args.plan);
    }
    let plan = args.plan.plan()?;
    // Before the table is shown: without pictures there will be no sweep.
    plan.data()?;
    let out = args.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("sweep-{}", plan.name)));
    let options = Options {
        out: out.clone(),
        device: args.device.clone(),
        precision: args.precision.clone(),
        quiet: args.quiet,
        start_over: args.start_over.clone(),
        fit: args.fit.options()?,
    };
    if !args.quiet {
        tell(format_args!("{} in {}:\n{}", plan.name, out.display(), plan_table(&plan)));
    }
    let outcome = sweep::sweep(&plan, &options)?;
    if args.plan.json { say(outcome.json()) } else { say(in_words(&outcome, &out)?) }?;
    if outcome.failed.is_empty() {
        return Ok(());
    }
    Err(Error::Incomplete { failed: outcome.failed.len(), all: plan.runs.len() })
}

fn in_words(outcome: &Outcome, out: &Path) -> Result<String> {
    let mut text = results_table(&outcome.results);
    text.push_str(&laws(&FitsFile::read(&out.join("fits.json"))?));
    for (name, why) in &outcome.failed {
        text.push_str(&format!("{name} failed: {why}\n"));
    }
    for warning in &outcome.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if outcome.bad > 0 {
        let (noun, log) =
            (if outcome.bad == 1 { "picture" } else { "pictures" }, out.join("logs/tokens.log"));
        text.push_str(&format!(
            "{} bad {noun} left out when encoding (see {})\n",
            outcome.bad,
            log.display()
        ));
    }
    let (time, report) = (duration(outcome.seconds), outcome.report.display());
    text.push_str(&format!("{time} in all; the report:\n{report}"));
    Ok(text)
}

fn plan_table(plan: &Plan) -> String {
    let runs = plan.runs.iter().map(|r| {
        [
            r.name.clone(),
            count(r.parameters as f64),
            r.steps.to_string(),
            r.batch.to_string(),
            count(r.tokens as f64),
            flops(r.flops),
            bytes(r.memory),
            duration(r.seconds),
        ]
    });
    let head = ["size", "params", "steps", "batch", "tokens", "FLOPs", "memory", "time"];
    let notes: String = plan.notes.iter().map(|note| format!("\nnote: {note}")).collect();
    format!(
        "{}time {} in all but for sample pictures, at {}\nmemory of training in bf16; in f32 activations take twice as much\n{}{notes}",
        columns(head, plan.preparations.iter().map(preparation_row).chain(runs)),
        duration(plan.seconds()),
        plan.assumption,
        plan.pictures.describe()
    )
}

/// A row of the plan's table; what does not apply or is not known stays empty.
fn preparation_row(piece: &Preparation) -> [String; 8] {
    let text = |value: Option<f64>, words: fn(f64) -> String| value.map_or_else(String::new, words);
    [
        piece.name.to_owned(),
        text(piece.parameters.map(|n| n as f64), count),
        String::new(),
        String::new(),
        text(piece.tokens.map(|n| n as f64), count),
        text(piece.flops, flops),
        String::new(),
        duration(piece.seconds),
    ]
}

fn results_table(results: &[ResultLine]) -> String {
    let rows = results.iter().map(|r| {
        [
            r.name.clone(),
            count(r.params as f64),
            format!("{:.4}", r.val_loss_all),
            format!("{:.4}", r.val_loss_last),
            format!("{:.4}", r.val_err_all),
            format!("{:.4}", r.val_err_last),
            flops(r.flops),
            duration(r.seconds),
        ]
    });
    columns(["size", "params", "loss all", "loss last", "err all", "err last", "FLOPs", "time"], rows)
}

/// Columns as wide as their widest cell; the first to the left, the others to the right.
fn columns<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut all = vec![head.map(str::to_owned)];
    all.extend(rows);
    let widths: [usize; N] =
        std::array::from_fn(|i| all.iter().map(|r| r[i].chars().count()).max().unwrap_or(0));
    let line = |row: &[String; N]| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .enumerate()
            .map(
                |(i, (cell, width))| {
                    if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        format!("{}\n", cells.join("  "))
    };
    all.iter().map(line).collect()
}

fn laws(fits: &FitsFile) -> String {
    let mut text = String::new();
    for law in &fits.laws {
        text.push_str(&format!("{:<12} {}\n", law.subject.name, law.verdict));
        for note in law.notes.iter().filter(|note| note.starts_with(NOT_MONOTONE)) {
            text.push_str(&format!("{:<12} {note}\n", ""));
        }
    }
    text
}
