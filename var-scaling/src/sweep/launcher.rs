//! Runs a plan in a folder: checks, stages, then fits, plots and report.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::child::Stop;
use super::missing;
use super::outcome::Outcome;
use super::progress::Progress;
use super::stages::{Launcher, Programs};
use super::state::Folder;
use crate::error::{Error, Result};
use crate::fit::FitOptions;
use crate::plan::Plan;
use crate::preparation::PICTURE_SECONDS;
use crate::report;
use crate::request::Run;
use crate::result_line::ResultLine;
use crate::results;
use crate::results_file;

/// How a sweep runs; no result depends on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Sweep folder.
    pub out: PathBuf,
    /// `--device` of the other programs.
    pub device: Option<String>,
    /// `--precision` of the other programs.
    pub precision: Option<String>,
    /// No progress.
    pub quiet: bool,
    /// Runs, or `tokens`, that start from the beginning; their old files get other names.
    pub start_over: Vec<String>,
    /// How laws are fitted at the end.
    pub fit: FitOptions,
}

/// Runs `plan`, and resumes the work of an earlier call.
///
/// # Errors
/// When the plan has no images, the folder has another sweep or is in use, tokenizer or tokens fail, no size finishes, or
/// a signal came. The outcome lists single sizes that failed.
pub fn sweep(plan: &Plan, options: &Options) -> Result<Outcome> {
    let began = Instant::now();
    let data = plan.data()?;
    let programs = Programs::find()?;
    let mut folder = Folder::open(&options.out, &plan.name)?;
    // Absolute paths: later calls may start in another folder.
    let root = std::fs::canonicalize(&options.out).map_err(|e| Error::io(&options.out, e))?;
    folder.agree_shared(&plan.shared())?;
    let results_file::Rows { lines: done, skipped, .. } = results_file::open(&root.join("results.jsonl"))?;
    let finished = |name: &str| done.iter().any(|line| line.name == name);
    may_start_over(plan, options, finished)?;
    missing::nothing_lost(&folder, plan, finished, &options.start_over)?;
    for run in &plan.runs {
        if !options.start_over.contains(&run.name) {
            folder.check_run(&run.name, &run.settings())?;
        }
        check_result(&done, plan, run, &options.out)?;
    }
    let mut launcher = Launcher {
        plan,
        data,
        programs,
        progress: Progress::new(options.quiet, pieces(plan)),
        place: place(options),
        root,
        folder,
        done,
        failed: Vec::new(),
        // The notes of the plan are printed with its table.
        warnings: if options.quiet { plan.notes.clone() } else { Vec::new() },
        start_over: &options.start_over,
        stop: Stop::listen()?,
    };
    for why in skipped {
        launcher.warn(format!("results.jsonl: {why}"));
    }
    let outcome = launcher.all();
    launcher.progress.finish();
    outcome?;
    let bad = launcher.bad_pictures();
    let Launcher { failed, mut done, mut warnings, .. } = launcher;
    done.retain(|line| plan.runs.iter().any(|r| r.name == line.name));
    done.sort_by_key(|line| line.params);
    if done.is_empty() {
        let (name, why) = failed.into_iter().next().unwrap_or_default();
        return Err(Error::Stage {
            what: "every size".into(),
            message: format!("{name}: {why}"),
            code: 1,
            log: Some(options.out.join("runs")),
        });
    }
    let precisions = results::precisions(&done);
    if precisions.len() > 1 {
        warnings
            .push(format!("the sizes were trained in different precisions ({})", precisions.join(" and ")));
    }
    let (report, skipped) = report::analyse(&options.out, &options.fit)?;
    warnings.extend(skipped.into_iter().filter(|s| !s.starts_with("results.jsonl: ")));
    Ok(Outcome { report, results: done, failed, warnings, bad, seconds: began.elapsed().as_secs_f64() })
}

/// The pieces of work ahead, with the seconds that they are expected to take.
fn pieces(plan: &Plan) -> Vec<(String, f64, bool)> {
    let mut pieces: Vec<(String, f64, bool)> =
        plan.preparations.iter().map(|p| (p.name.to_owned(), p.seconds, false)).collect();
    pieces.push(("reconstruction".into(), PICTURE_SECONDS, false));
    for run in &plan.runs {
        pieces.push((run.name.clone(), run.seconds, true));
        pieces.push((format!("samples of {}", run.name), PICTURE_SECONDS, false));
    }
    pieces
}

/// Checks that all names of `--start-over` are unfinished runs of the plan, or `tokens`.
fn may_start_over(plan: &Plan, options: &Options, finished: impl Fn(&str) -> bool) -> Result<()> {
    for name in &options.start_over {
        if finished(name) {
            return Err(Error::config(format!(
                "--start-over {name}: already finished; to train it again, start a new sweep with another --out"
            )));
        }
        if name != "tokens" && !plan.runs.iter().any(|run| run.name == *name) {
            let names: Vec<&str> = plan.runs.iter().map(|run| run.name.as_str()).collect();
            return Err(Error::config(format!(
                "--start-over {name}: not in this sweep; expected tokens or one of {}",
                names.join(", ")
            )));
        }
    }
    Ok(())
}

fn place(options: &Options) -> Vec<String> {
    let flag = |name: &str, value: &Option<String>| {
        value.as_ref().map_or_else(Vec::new, |v| vec![name.to_owned(), v.clone()])
    };
    [flag("--device", &options.device), flag("--precision", &options.precision)].concat()
}

/// Checks that a finished size was trained with the settings of the plan.
fn check_result(done: &[ResultLine], plan: &Plan, run: &Run, out: &Path) -> Result<()> {
    match done.iter().find(|line| line.name == run.name) {
        Some(line) if !line.plan.is_empty() && line.plan != plan.fingerprint(run) => Err(Error::file(
            out.join("results.jsonl"),
            format!(
                "{} was trained with different settings; give the same settings to resume, or another --out to start a new sweep",
                run.name
            ),
        )),
        _ => Ok(()),
    }
}
