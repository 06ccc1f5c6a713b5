//! Runs a plan in a folder: what may start, the stages, then fits, plots, report.

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
use crate::rows;

/// How a sweep is carried out; no result depends on it.
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
    /// Runs, or `tokens`, to do from the beginning; what they have is moved aside.
    pub start_over: Vec<String>,
    /// How laws are fitted at the end.
    pub fit: FitOptions,
}

/// Carries out `plan`, going on where an earlier call stopped.
///
/// # Errors
/// When the plan names no pictures, the folder holds another sweep or is in use, the trainer refuses the
/// settings, tokenizer or tokens fail, no size finishes, or a signal came. Single sizes that fail are in the
/// outcome instead.
pub fn sweep(plan: &Plan, options: &Options) -> Result<Outcome> {
    let began = Instant::now();
    let data = plan.data()?;
    let programs = Programs::find()?;
    let mut folder = Folder::open(&options.out, &plan.name)?;
    // Children may run anywhere and later calls may start elsewhere: all their paths are whole.
    let root = std::fs::canonicalize(&options.out).map_err(|e| Error::io(&options.out, e))?;
    folder.agree_shared(&plan.shared())?;
    let rows::Rows { lines: done, skipped, .. } = rows::open(&root.join("results.jsonl"))?;
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
        // Those of the plan stand under its table.
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
        warnings.push(format!("the sizes were not trained in one precision ({})", precisions.join(" and ")));
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

/// Whether the names of `--start-over` are runs of the plan that are not finished, or `tokens`.
fn may_start_over(plan: &Plan, options: &Options, finished: impl Fn(&str) -> bool) -> Result<()> {
    for name in &options.start_over {
        if finished(name) {
            return Err(Error::config(format!(
                "--start-over {name}: it is finished; train it again in a new sweep with another --out"
            )));
        }
        if name != "tokens" && !plan.runs.iter().any(|run| run.name == *name) {
            let names: Vec<&str> = plan.runs.iter().map(|run| run.name.as_str()).collect();
            return Err(Error::config(format!(
                "--start-over {name}: not in this sweep; write tokens or one of {}",
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

/// A finished size must have been trained with the settings that are asked for now.
fn check_result(done: &[ResultLine], plan: &Plan, run: &Run, out: &Path) -> Result<()> {
    match done.iter().find(|line| line.name == run.name) {
        Some(line) if !line.plan.is_empty() && line.plan != plan.fingerprint(run) => Err(Error::file(
            out.join("results.jsonl"),
            format!(
                "{} was trained with other settings; give the same ones to go on, or another --out for a new sweep",
                run.name
            ),
        )),
        _ => Ok(()),
    }
}
