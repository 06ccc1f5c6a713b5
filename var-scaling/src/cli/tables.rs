//! Tables for the terminal: plans, results and laws.

use std::path::Path;

use var_scaling::error::Result;
use var_scaling::fit::FitsFile;
use var_scaling::fit::means::NOT_MONOTONE;
use var_scaling::plan::SweepPlan;
use var_scaling::preparation::Preparation;
use var_scaling::quantity::{bytes, count, duration, flops};
use var_scaling::request::PlannedRun;
use var_scaling::result_line::ResultLine;
use var_scaling::sweep::SweepOutcome;

/// Results, laws, failures and the path of the report.
pub fn outcome(outcome: &SweepOutcome, out: &Path) -> Result<String> {
    let mut text = results_table(&outcome.results);
    text.push_str(&laws(&FitsFile::read(&out.join("fits.json"))?));
    for forecast in &outcome.forecasts {
        text.push_str(&format!("{forecast}\n"));
    }
    for (name, why) in &outcome.failed {
        text.push_str(&format!("{name} failed: {why}\n"));
    }
    for warning in &outcome.warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    if outcome.bad > 0 {
        let (noun, log) = (if outcome.bad == 1 { "image" } else { "images" }, out.join("logs/tokens.log"));
        text.push_str(&format!(
            "{} unreadable {noun} skipped by the encoder (see {})\n",
            outcome.bad,
            log.display()
        ));
    }
    let (time, report) = (duration(outcome.seconds), outcome.report.display());
    text.push_str(&format!("{time} in total; the report:\n{report}"));
    Ok(text)
}

/// The table of a plan, with its notes.
pub fn plan(plan: &SweepPlan) -> String {
    let runs = plan.runs.iter().map(|r| {
        [
            r.name.clone(),
            count(r.parameters as f64),
            r.steps.to_string(),
            r.batch.to_string(),
            epochs(plan.epochs(r)),
            count(r.tokens as f64),
            flops(r.flops),
            bytes(r.memory),
            duration(r.seconds),
        ]
    });
    let head = ["size", "params", "steps", "batch", "epochs", "tokens", "FLOPs", "memory", "time"];
    let held_out: Vec<&str> =
        plan.runs.iter().filter(|run| run.held_out).map(|run| run.name.as_str()).collect();
    let held_out = if held_out.is_empty() {
        String::new()
    } else {
        format!("held out, forecast before its training: {}\n", held_out.join(", "))
    };
    let notes: String = plan.notes.iter().map(|note| format!("\nnote: {note}")).collect();
    format!(
        "{}{}total time without samples: {}, assuming {}\nmemory: for bf16; in f32, activations take twice as much\n{held_out}{}{notes}",
        columns(head, plan.preparations.iter().map(preparation_row).chain(runs)),
        placements(plan),
        duration(plan.seconds()),
        plan.assumption,
        plan.images.describe()
    )
}

/// Passes over the images: `0.8`, `200`.
fn epochs(epochs: f64) -> String {
    if epochs < 10.0 { format!("{epochs:.1}") } else { format!("{epochs:.0}") }
}

/// How each training is divided over the devices of the plan; empty without devices.
fn placements(plan: &SweepPlan) -> String {
    let Some(devices) = &plan.devices else { return String::new() };
    let row = |run: &PlannedRun| {
        let hours = devices.hours(run.seconds);
        let cost = devices.price.map_or_else(String::new, |price| format!("{:.0}", price * hours));
        let [images, parts, means, memory] = match &run.placement {
            None => [String::new(), String::new(), "does not fit".into(), String::new()],
            Some(place) => {
                let means = [(place.zero, "--zero"), (place.recompute, "recompute=true")];
                let means: Vec<&str> = means.iter().filter(|(on, _)| *on).map(|(_, name)| *name).collect();
                [
                    format!("{} × {}", devices.ranks, place.images),
                    place.accumulation.to_string(),
                    means.join(" "),
                    bytes(place.memory),
                ]
            }
        };
        [run.name.clone(), images, parts, means, memory, format!("{hours:.1}"), cost]
    };
    let price = if devices.price.is_some() { "cost" } else { "" };
    let head = ["size", "images", "accumulation", "also set", "memory of a rank", "device hours", price];
    format!(
        "\n{}device hours: {}; the memory is estimated, and a tenth of {} is left free\n\n",
        columns(head, plan.runs.iter().map(row)),
        plan.assumption,
        bytes(devices.memory)
    )
}

/// A row of the table of a plan. Unknown cells are empty.
fn preparation_row(piece: &Preparation) -> [String; 9] {
    let text = |value: Option<f64>, words: fn(f64) -> String| value.map_or_else(String::new, words);
    [
        piece.name.to_owned(),
        text(piece.parameters.map(|n| n as f64), count),
        String::new(),
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

/// Pads columns to their widest cell. The first column is left-aligned, the others right-aligned.
pub fn columns<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
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

/// The verdicts on the laws, one per line.
pub fn laws(fits: &FitsFile) -> String {
    let mut text = String::new();
    for law in &fits.laws {
        text.push_str(&format!("{:<12} {}\n", law.subject.name, law.verdict));
        for note in law.notes.iter().filter(|note| note.starts_with(NOT_MONOTONE)) {
            text.push_str(&format!("{:<12} {note}\n", ""));
        }
    }
    for law in &fits.joint {
        text.push_str(&format!("{:<12} {}\n", law.name, law.words()));
    }
    text
}
