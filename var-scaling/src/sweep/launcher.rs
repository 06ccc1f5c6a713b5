//! Runs a plan in a folder: checks, stages, then fits, plots and report.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::call::Call;
use super::launch::{LaunchOptions, Starter};
use super::missing;
use super::outcome::SweepOutcome;
use super::progress::SweepProgress;
use super::stages::{Launcher, Programs};
use super::state::SweepFolder;
use super::stop::Stop;
use crate::error::{Error, Remedy, Result};
use crate::fit::{FitOptions, ForecastsFile};
use crate::plan::SweepPlan;
use crate::preparation::IMAGE_SECONDS;
use crate::report;
use crate::request::PlannedRun;
use crate::result_line::ResultLine;
use crate::results;
use crate::results_file;

/// How a sweep runs. Results may depend on it in their last digits, by the order of sums.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SweepOptions {
    /// Sweep folder.
    pub out: PathBuf,
    /// Device for the other programs: `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: Option<String>,
    /// Precision for the other programs: `auto`, `f32` or `bf16`.
    pub precision: Option<String>,
    /// How programs start.
    pub launch: LaunchOptions,
    /// Prints no progress.
    pub quiet: bool,
    /// Runs, or `tokens`, that start over; their old files get other names.
    pub start_over: Vec<String>,
    /// How laws are fitted at the end.
    pub fit: FitOptions,
}

/// Runs `plan`. Resumes the work of an earlier call.
///
/// # Errors
/// When the plan has no images, the folder has another sweep or is in use, tokenizer or tokens fail, no size finishes, or
/// a signal comes. The outcome lists the sizes that failed.
pub fn sweep(plan: &SweepPlan, options: &SweepOptions) -> Result<SweepOutcome> {
    let began = Instant::now();
    let mut launcher = open(plan, options)?;
    launcher.folder.plan(plan.runs.iter().map(|run| run.name.clone()).collect())?;
    let outcome = launcher.all();
    launcher.progress.finish();
    outcome?;
    let bad = launcher.unreadable_images();
    let Launcher { failed, mut done, mut warnings, .. } = launcher;
    done.retain(|line| plan.runs.iter().any(|r| r.name == line.name));
    done.sort_by_key(|line| line.params);
    if done.is_empty() {
        return Err(Error::NothingFinished { failed, log: options.out.join("runs") });
    }
    let precisions = results::precisions(&done);
    if precisions.len() > 1 {
        warnings
            .push(format!("the sizes were trained in different precisions ({})", precisions.join(" and ")));
    }
    let (report, skipped) = report::analyse(&options.out, &options.fit)?;
    warnings.extend(skipped.into_iter().filter(|s| !s.starts_with("results.jsonl: ")));
    let (held_out, known): (Vec<ResultLine>, _) =
        (done.iter().filter(|line| line.held_out).cloned().collect(), ForecastsFile::read(&options.out)?);
    let forecasts = known.iter().flat_map(|file| file.outcomes(&held_out)).map(|one| one.words()).collect();
    let seconds = began.elapsed().as_secs_f64();
    Ok(SweepOutcome { report, results: done, forecasts, failed, warnings, bad, seconds })
}

/// Writes the batch scripts of `plan` for SLURM, in the order of the work, and submits none. Returns their paths.
///
/// # Errors
/// As [`sweep`], and without [`LaunchOptions::slurm`].
pub fn render(plan: &SweepPlan, options: &SweepOptions) -> Result<Vec<PathBuf>> {
    let launcher = open(plan, options)?;
    let mut calls: Vec<Call> = launcher.tokenizer_call().into_iter().collect();
    calls.push(launcher.tokens_call());
    for run in &plan.runs {
        calls.extend([launcher.training_call(run), launcher.sample_call(run)]);
    }
    calls.iter().map(|call| launcher.starter.render(call)).collect()
}

/// Opens the folder of a sweep, and checks that the plan fits what is in it.
fn open<'a>(plan: &'a SweepPlan, options: &'a SweepOptions) -> Result<Launcher<'a>> {
    options.launch.check(options.device.as_deref())?;
    let data = plan.data()?;
    let programs = Programs::find()?;
    let mut folder = SweepFolder::open(&options.out, &plan.name)?;
    // Absolute paths: later calls may start in another folder.
    let root = std::fs::canonicalize(&options.out).map_err(|e| Error::io(&options.out, e))?;
    folder.agree_shared(&plan.shared())?;
    let results_file::ResultRows { lines: done, skipped, .. } =
        results_file::open(&root.join("results.jsonl"))?;
    let finished = |name: &str| done.iter().any(|line| line.name == name);
    may_start_over(plan, options, finished)?;
    missing::nothing_lost(&folder, plan, finished, &options.start_over)?;
    for run in &plan.runs {
        if !options.start_over.contains(&run.name) {
            folder.check_run(&run.name, &run.settings())?;
        }
        check_result(&done, plan, run, &options.out)?;
    }
    let jobs = options.launch.slots(plan.runs.len());
    let mut launcher = Launcher {
        plan,
        data,
        programs,
        progress: SweepProgress::new(options.quiet, jobs, pieces(plan)),
        place: place(options),
        starter: Starter::new(&options.launch, &root)?,
        root,
        folder,
        done,
        failed: Vec::new(),
        // Otherwise the table of the plan has its notes.
        warnings: if options.quiet { plan.notes.clone() } else { Vec::new() },
        start_over: &options.start_over,
        stop: Stop::listen()?,
        jobs,
        fit: &options.fit,
        retries: options.launch.retries,
    };
    for why in skipped {
        launcher.warn(format!("results.jsonl: {why}"));
    }
    Ok(launcher)
}

/// The pieces of work ahead: name, expected seconds, and whether it is a training of a size.
fn pieces(plan: &SweepPlan) -> Vec<(String, f64, bool)> {
    let mut pieces: Vec<(String, f64, bool)> =
        plan.preparations.iter().map(|p| (p.name.to_owned(), p.seconds, false)).collect();
    pieces.push(("reconstruction".into(), IMAGE_SECONDS, false));
    for run in &plan.runs {
        pieces.push((run.name.clone(), run.seconds, true));
        pieces.push((format!("samples of {}", run.name), IMAGE_SECONDS, false));
    }
    pieces
}

/// Checks that whatever starts over is an unfinished run of the plan, or `tokens`.
fn may_start_over(plan: &SweepPlan, options: &SweepOptions, finished: impl Fn(&str) -> bool) -> Result<()> {
    for name in &options.start_over {
        if finished(name) {
            return Err(Error::config(format!(
                "cannot start {name} over: it is finished. To train it again, start a new sweep in another folder"
            )));
        }
        if name != "tokens" && !plan.runs.iter().any(|run| run.name == *name) {
            let names: Vec<&str> = plan.runs.iter().map(|run| run.name.as_str()).collect();
            return Err(Error::config(format!(
                "cannot start {name} over: it is not in this sweep; expected tokens or one of {}",
                names.join(", ")
            )));
        }
    }
    Ok(())
}

fn place(options: &SweepOptions) -> Vec<String> {
    let flag = |name: &str, value: &Option<String>| {
        value.as_ref().map_or_else(Vec::new, |v| vec![name.to_owned(), v.clone()])
    };
    [flag("--device", &options.device), flag("--precision", &options.precision)].concat()
}

/// Checks that a finished size was trained with the settings of the plan.
fn check_result(done: &[ResultLine], plan: &SweepPlan, run: &PlannedRun, out: &Path) -> Result<()> {
    match done.iter().find(|line| line.name == run.name) {
        Some(line) if !line.plan.is_empty() && line.plan != plan.fingerprint(run) => {
            Err(Error::cannot_resume(
                out.join("results.jsonl"),
                format!("{} was trained with different settings. Give the same settings to resume", run.name),
                Remedy::NewSweep,
            ))
        }
        _ => Ok(()),
    }
}
