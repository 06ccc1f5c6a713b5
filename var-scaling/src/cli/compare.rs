//! Flags of `var-scaling compare`.

use std::path::{Path, PathBuf};

use clap::Args;
use var_scaling::compare::{ComparisonOutcome, ComparisonPlan, compare, list};
use var_scaling::error::{Error, Result};
use var_scaling::fit::FitOptions;
use var_scaling::quantity::{count, duration, flops};
use var_scaling::request::SweepRequest;
use var_scaling::sweep::{LaunchOptions, SweepOptions};
use var_tokenizer::progress::{say, tell};
use var_tokenizer::torch::{DeviceChoice, Precision};

use super::{TrainingArgs, tables, valid};

#[derive(Args)]
#[command(after_help = "Examples:
  var-scaling compare                                    (next-scale against raster, built-in emoji)
  var-scaling compare --comparison ablation
  var-scaling compare --data cifar-10-binary.tar.gz --seeds 2 --out runs/cifar-raster
  var-scaling compare --dry-run --sizes 2x64,3x96 --set steps=300
  var-scaling compare --list

A comparison is a TOML file of arms. Each arm is a sweep that differs from the others in one thing, or samples the
models of another arm differently. OUT has a sweep folder per arm, comparison.json, plots/ and report.html.
To resume after an interruption or a failure, run the same command again.
Exit status: 0 all done, 1 something failed, 2 bad input, 3 interrupted.")]
pub struct Compare {
    /// Name of a comparison, or a TOML file [default: raster-vs-var]
    #[arg(long, value_name = "NAME")]
    comparison: Option<String>,
    /// Images: class folders, a tar, WebDataset or Parquet shards, a text list, an npz, CIFAR binaries, or `emoji` [default: from
    /// the preset]
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// Sizes of all arms, separated by commas [default: from the comparison]
    #[arg(long, value_name = "LIST")]
    sizes: Option<String>,
    #[command(flatten)]
    trainings: TrainingArgs,
    /// Number of samples of each model [default: from the comparison]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    number: Option<u64>,
    /// Trainings to start from the beginning, as ARM/NAME, separated by commas, or ARM/tokens to encode again
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    start_over: Vec<String>,
    /// Folder of the comparison [default: runs/compare-NAME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print the arms with their sizes and times; start nothing
    #[arg(long)]
    dry_run: bool,
    /// List comparisons
    #[arg(long)]
    list: bool,
    /// Device: auto, cpu, cuda or cuda:N [default: auto]
    #[arg(long, value_parser = valid::<DeviceChoice>)]
    device: Option<String>,
    /// Precision: auto, f32 or bf16 [default: auto]
    #[arg(long, value_parser = valid::<Precision>)]
    precision: Option<String>,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl Compare {
    /// Plans the comparison, and runs it.
    pub fn run(&self) -> Result<()> {
        if self.list {
            let all = list().into_iter().map(|(name, about)| format!("  {name:<14} {about}\n"));
            return Ok(say(format_args!("Comparisons:\n{}", all.collect::<String>().trim_end()))?);
        }
        let name = self.comparison.as_deref();
        let plan = ComparisonPlan::new(name, &self.request()?, self.number)?;
        let out =
            self.out.clone().unwrap_or_else(|| Path::new("runs").join(format!("compare-{}", plan.name)));
        if self.dry_run {
            return Ok(if self.json { say(plan.json()) } else { say(planned(&plan)) }?);
        }
        for arm in &plan.arms {
            arm.plan.data()?;
        }
        if !self.quiet {
            tell(format_args!("{} in {}:\n{}", plan.name, out.display(), planned(&plan)));
        }
        let options = SweepOptions {
            out,
            device: self.device.clone(),
            precision: self.precision.clone(),
            // One training at a time: the report has their times.
            launch: LaunchOptions::default(),
            quiet: self.quiet,
            start_over: self.start_over.clone(),
            fit: FitOptions::default(),
        };
        let outcome = compare(&plan, &options)?;
        if self.json { say(outcome.json()) } else { say(compared(&outcome)) }?;
        if outcome.failed.is_empty() {
            return Ok(());
        }
        let all = plan.arms.iter().filter(|arm| arm.trains()).map(|arm| arm.plan.runs.len()).sum();
        Err(Error::Incomplete { failed: outcome.failed.len(), all })
    }

    fn request(&self) -> Result<SweepRequest> {
        let (data, sizes) = (self.data.clone(), self.sizes.clone());
        Ok(SweepRequest { data, sizes, ..self.trainings.request()? })
    }
}

/// The plan as text.
fn planned(plan: &ComparisonPlan) -> String {
    let mut text = format!("{}\n", plan.about);
    for arm in &plan.arms {
        text.push_str(&format!("\n{}: {}\n", arm.name, arm.about));
        if arm.trains() {
            text.push_str(&format!("{}\n", tables::plan(&arm.plan)));
        } else {
            text.push_str(&format!("samples the models of {} differently\n", arm.models));
        }
    }
    text.push_str(&format!("\nall arms with their scores: {}", duration(plan.seconds())));
    text
}

/// The outcome as text.
fn compared(outcome: &ComparisonOutcome) -> String {
    let head = ["arm", "run", "params", "images", "training", "bits/image", "distance", "sampling"];
    let rows = outcome.rows.iter().map(|row| {
        [
            row.arm.clone(),
            row.run.clone(),
            count(row.parameters as f64),
            count(row.images as f64),
            flops(row.training_flops),
            format!("{:.1}", row.bits_per_image),
            row.distance.as_ref().map_or_else(|| "-".into(), |distance| format!("{:.2}", distance.value)),
            flops(row.sampling_flops),
        ]
    });
    let mut text = tables::columns(head, rows);
    for (name, why) in &outcome.failed {
        text.push_str(&format!("{name} failed: {why}\n"));
    }
    let (time, report) = (duration(outcome.seconds), outcome.report.display());
    text.push_str(&format!("{time} in total; the report:\n{report}"));
    text
}
