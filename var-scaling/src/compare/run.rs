//! Runs a comparison: for each arm its sweep, then the scores of its samples; at the end times and the report.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use var_tokenizer::files::{lock, make_folder, write_atomically};
use var_tokenizer::progress::tell;

use super::outcome::{ComparisonOutcome, finished, outcome, read};
use super::plan::{ComparisonPlan, PlannedArm};
use super::report;
use super::score::Scorer;
use crate::error::{Error, Remedy, Result};
use crate::sweep::{self, SweepOptions};

/// Runs `plan`. Resumes the work of an earlier call. What starts over is named `ARM/NAME` or `ARM/tokens`.
///
/// # Errors
/// When the plan has no images, the folder has another comparison or is in use, a program that prepares, samples, scores
/// or times fails, no model of any arm finishes, or a signal comes. The outcome lists the sizes that failed.
pub fn compare(plan: &ComparisonPlan, options: &SweepOptions) -> Result<ComparisonOutcome> {
    let began = Instant::now();
    check_start_over(plan, options)?;
    make_folder(&options.out.join("logs"))?;
    let root = std::fs::canonicalize(&options.out).map_err(|e| Error::io(&options.out, e))?;
    let lock_path = root.join("compare.lock");
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
    let file = file.map_err(|e| Error::io(&lock_path, e))?;
    let busy = "another comparison is running in this folder; wait for it, or choose another folder";
    let _lock = lock(&file, &lock_path, busy)?;
    agree(plan, &root)?;

    let mut scorer = Scorer::new(plan, options, root)?;
    let (mut failed, mut warnings) = (Vec::new(), Vec::new());
    for arm in &plan.arms {
        if arm.trains() {
            train(plan, arm, options, &mut scorer, &mut failed, &mut warnings)?;
        }
        scorer.score(arm)?;
    }
    scorer.time()?;

    let mut outcome = outcome(plan, scorer.root())?;
    if outcome.rows.is_empty() {
        return Err(Error::NothingFinished { failed, log: options.out.clone() });
    }
    outcome.failed = failed;
    outcome.warnings.extend(warnings);
    outcome.seconds = began.elapsed().as_secs_f64();
    outcome.report = options.out.join("report.html");
    let path = options.out.join("comparison.json");
    write_atomically(&path, format!("{:#}\n", outcome.json()).as_bytes())?;
    report::write(plan, &outcome, &options.out)?;
    Ok(outcome)
}

/// Trains the models of an arm. Sizes that fail are put into `failed`.
fn train(
    plan: &ComparisonPlan,
    arm: &PlannedArm,
    options: &SweepOptions,
    scorer: &mut Scorer<'_>,
    failed: &mut Vec<(String, String)>,
    warnings: &mut Vec<String>,
) -> Result<()> {
    scorer.check_stop()?;
    let name = &arm.name;
    if !options.quiet {
        let number = plan.arms.iter().position(|other| other.name == *name).unwrap_or_default() + 1;
        tell(format_args!("arm {number} of {}: {name} ({})", plan.arms.len(), arm.about));
    }
    let own = format!("{name}/");
    let own_names = options.start_over.iter().filter_map(|text| text.strip_prefix(&own));
    let options = SweepOptions {
        out: options.out.join(name),
        // Where the first arm measured which precision is faster, the others have the same.
        precision: scorer.precision().cloned(),
        start_over: own_names.map(Into::into).collect(),
        ..options.clone()
    };
    let sizes = match sweep::sweep(&arm.plan, &options) {
        Ok(outcome) => {
            warnings.extend(outcome.warnings.into_iter().map(|why| format!("{name}: {why}")));
            outcome.failed
        }
        Err(Error::NothingFinished { failed, .. }) => failed,
        Err(Error::CannotResume { path, message, remedy: Remedy::StartOver(run) }) => {
            let remedy = Remedy::StartOver(format!("{name}/{run}"));
            return Err(Error::CannotResume { path, message, remedy });
        }
        Err(e) => return Err(e),
    };
    failed.extend(sizes.into_iter().map(|(run, why)| (format!("{name}/{run}"), why)));
    let lines = finished(arm, scorer.root())?;
    scorer.settle_precision(lines.last().map(|line| line.precision.as_str()));
    Ok(())
}

/// Everything that starts over must be of an arm that trains.
fn check_start_over(plan: &ComparisonPlan, options: &SweepOptions) -> Result<()> {
    let arms: BTreeSet<&str> =
        plan.arms.iter().filter(|arm| arm.trains()).map(|arm| arm.name.as_str()).collect();
    for text in &options.start_over {
        if !text.split_once('/').is_some_and(|(arm, _)| arms.contains(arm)) {
            let names: Vec<&str> = arms.into_iter().collect();
            return Err(Error::config(format!(
                "cannot start {text} over: expected ARM/NAME, where ARM is one of {}",
                names.join(", ")
            )));
        }
    }
    Ok(())
}

/// Writes down what is compared, or checks that an earlier call compared the same.
fn agree(plan: &ComparisonPlan, root: &Path) -> Result<()> {
    let path = root.join("arms.json");
    let arms: Vec<Value> = plan.arms.iter().map(compared).collect();
    let (new, old): (Value, Option<Value>) = (json!({"comparison": plan.name, "arms": arms}), read(&path)?);
    match old {
        Some(old) if old == new => Ok(()),
        Some(old) if has_sweep(&old, root) => {
            let name = |value: &Value| value["comparison"].as_str().unwrap_or_default().to_owned();
            let message = if name(&old) == name(&new) {
                format!(
                    "the arms of {} had other settings when this folder was begun. Use the same settings",
                    name(&new)
                )
            } else {
                format!("this folder has the comparison {}. Name that one", name(&old))
            };
            Err(Error::cannot_resume(path, message, Remedy::NewSweep))
        }
        // Also in place of a comparison that was refused before its first sweep began.
        _ => Ok(write_atomically(&path, format!("{new:#}\n").as_bytes())?),
    }
}

/// Whether an arm of a comparison has a sweep.
fn has_sweep(compared: &Value, root: &Path) -> bool {
    let arms = compared["arms"].as_array().into_iter().flatten();
    arms.filter_map(|arm| arm["name"].as_str()).any(|name| root.join(name).join("sweep.json").exists())
}

/// What makes an arm: the sizes and `--set` may differ between calls, as in a sweep.
fn compared(arm: &PlannedArm) -> Value {
    let (plan, sample) = (&arm.plan, &arm.plan.preset.sample);
    json!({
        "name": arm.name, "models": arm.models, "tokenizer": plan.tokenizer.to_string(), "train": plan.preset.train.set,
        "sample": {"cfg": sample.cfg, "top_k": sample.top_k, "top_p": sample.top_p},
    })
}
