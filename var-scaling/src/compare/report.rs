//! The page of a comparison.

use std::collections::BTreeSet;
use std::path::Path;

use var_tokenizer::files::{make_folder, write_atomically};

use super::figures::figures;
use super::outcome::{ComparisonOutcome, ComparisonRow, Distance};
use super::places::grid_of;
use super::plan::{ComparisonPlan, PlannedArm};
use crate::error::Result;
use crate::machine::SweepMachine;
use crate::quantity::{count, duration, flops};
use crate::report::html::{escape, image, table};
use crate::report::page::document;
use crate::report::sections::figure;

/// Draws the plots and writes `report.html` into `folder`.
///
/// # Errors
/// When a plot cannot be drawn, or a file cannot be read or written.
pub(super) fn write(plan: &ComparisonPlan, outcome: &ComparisonOutcome, folder: &Path) -> Result<()> {
    let figures = figures(plan, outcome);
    let plots = folder.join("plots");
    make_folder(&plots)?;
    for figure in &figures {
        figure.wide().write(&plots, &figure.stem)?;
    }
    let title = format!("Comparison: {}", plan.name);
    let plots: String = figures.iter().map(figure).collect();
    let body = [
        format!("<h1>{}</h1>\n<p class=\"lead\">Compared: {}.</p>\n", escape(&title), escape(&plan.about)),
        arms(plan),
        findings(plan, outcome),
        models(plan, outcome),
        if plots.is_empty() {
            String::new()
        } else {
            format!("<h2>Plots</h2>\n<div class=\"plots\">{plots}</div>\n")
        },
        times(plan, outcome),
        tokenizers(outcome),
        grids(plan, folder)?,
        limits(plan, outcome),
        made(plan, outcome),
    ];
    Ok(write_atomically(&folder.join("report.html"), document(&escape(&title), &body.concat()).as_bytes())?)
}

/// What is compared.
fn arms(plan: &ComparisonPlan) -> String {
    let items = plan.arms.iter().map(|arm| {
        let link = if arm.trains() {
            format!(" (<a href=\"{0}/report.html\">its sweep</a>)", escape(&arm.name))
        } else {
            format!(" (the models of {}, sampled differently)", escape(&arm.models))
        };
        format!("<li><strong>{}</strong>: {}{link}</li>\n", escape(&arm.name), escape(&arm.about))
    });
    format!("<ul>\n{}</ul>\n", items.collect::<String>())
}

/// Each arm next to the first, or to the one before, in sentences made of the numbers.
fn findings(plan: &ComparisonPlan, outcome: &ComparisonOutcome) -> String {
    let pairs = plan.arms.windows(2).filter_map(|pair| match pair {
        [before, arm] => Some((if plan.steps { before } else { plan.arms.first()? }, arm)),
        _ => None,
    });
    let items: String = pairs
        .flat_map(|(other, arm)| [distances(other, arm, outcome), speeds(other, arm, outcome)])
        .flatten()
        .map(|sentence| format!("<li>{}</li>\n", escape(&sentence)))
        .collect();
    if items.is_empty() { items } else { format!("<h2>What the numbers say</h2>\n<ul>\n{items}</ul>\n") }
}

/// The distances of two arms at the sizes and seeds that both have.
fn distances(first: &PlannedArm, arm: &PlannedArm, outcome: &ComparisonOutcome) -> Option<String> {
    let pairs: Vec<(&Distance, &Distance)> = outcome
        .of(first)
        .filter_map(|a| {
            let b = outcome.of(arm).find(|b| (&a.size, a.seed) == (&b.size, b.seed))?;
            Some((a.distance.as_ref()?, b.distance.as_ref()?))
        })
        .collect();
    let below =
        |a: &Distance, b: &Distance| matches!((a.interval, b.interval), (Some(a), Some(b)) if a.1 < b.0);
    let count = pairs.len();
    let wins = pairs.iter().filter(|(a, b)| b.value < a.value).count();
    let clear = pairs.iter().filter(|(a, b)| below(b, a)).count();
    let clear_losses = pairs.iter().filter(|(a, b)| below(a, b)).count();
    let mean = (pairs.iter().map(|(a, b)| (b.value / a.value).ln()).sum::<f64>() / count as f64).exp();
    let (name, arm, first) = (&pairs.first()?.0.name, &arm.name, &first.name);
    let mut text = format!("{name} of {arm} is {mean:.2} times that of {first}");
    if count > 1 {
        text.push_str(&format!(" (geometric mean of {count} pairs); {arm} is lower in {wins} of {count}"));
    }
    if pairs.iter().all(|(a, b)| a.interval.is_some() && b.interval.is_some()) {
        text.push_str(&format!(
            ". The interval of {arm} is below that of {first} in {clear} of {count}, above it in {clear_losses}"
        ));
    }
    Some(text + ".")
}

/// The times of two arms at the largest size that both have.
fn speeds(first: &PlannedArm, arm: &PlannedArm, outcome: &ComparisonOutcome) -> Option<String> {
    let timed = |row: &&ComparisonRow| !row.seconds_per_image.is_empty();
    let same = |a: &ComparisonRow| outcome.of(arm).filter(timed).find(|b| b.size == a.size);
    let pairs = outcome.of(first).filter(timed).filter_map(|a| Some((a, same(a)?)));
    let (a, b) = pairs.max_by_key(|(a, _)| a.parameters)?;
    let ratios: Vec<String> = a
        .seconds_per_image
        .iter()
        .filter_map(|(batch, seconds)| {
            Some(format!("{:.2} times as long at batch {batch}", b.seconds_per_image.get(batch)? / seconds))
        })
        .collect();
    Some(format!(
        "{} {} needs per image, compared with {} {}: {}. Its transformer computes {:.2} times the FLOPs.",
        arm.name,
        b.size,
        first.name,
        a.size,
        ratios.join(", "),
        b.sampling_flops / a.sampling_flops
    ))
}

/// A distance with its interval.
fn in_words(distance: Option<&Distance>) -> String {
    match distance {
        Some(Distance { value, interval: Some((low, high)), .. }) => {
            format!("{value:.2} ({low:.2} to {high:.2})")
        }
        Some(distance) => format!("{:.2}", distance.value),
        None => "not measured".into(),
    }
}

/// All models.
fn models(plan: &ComparisonPlan, outcome: &ComparisonOutcome) -> String {
    let seeds = outcome.rows.windows(2).any(|pair| matches!(pair, [a, b] if a.seed != b.seed));
    let first = outcome.rows.first().map_or(1.0, |row| row.sampling_flops);
    let name = outcome.rows.iter().find_map(|row| row.distance.as_ref()).map_or("FD", |d| d.name.as_str());
    let distance = format!("#{name}");
    let mut head = vec!["Arm", "Size"];
    if seeds {
        head.push("#Seed");
    }
    head.extend([
        distance.as_str(),
        "#Sampling cost",
        "#Bits per image",
        "#Parameters",
        "#Training images",
        "#Training compute",
        "#Training time",
    ]);
    let best =
        outcome.rows.iter().filter_map(|row| Some(row.distance.as_ref()?.value)).fold(f64::NAN, f64::min);
    let rows: Vec<(bool, Vec<String>)> = outcome
        .rows
        .iter()
        .map(|row| {
            let mut cells = vec![escape(&row.arm), escape(&row.size)];
            if seeds {
                cells.push(row.seed.to_string());
            }
            cells.extend([
                in_words(row.distance.as_ref()),
                format!("{} (×{:.2})", flops(row.sampling_flops), row.sampling_flops / first),
                format!("{:.1}", row.bits_per_image),
                count(row.parameters as f64),
                count(row.images as f64),
                flops(row.training_flops),
                duration(row.training_seconds),
            ]);
            (row.distance.as_ref().is_some_and(|d| d.value == best), cells)
        })
        .collect();
    let missing: Vec<String> = plan
        .arms
        .iter()
        .flat_map(|arm| arm.plan.runs.iter().map(move |run| (arm, run)))
        .filter(|(arm, run)| !outcome.of(arm).any(|row| row.run == run.name))
        .map(|(arm, run)| format!("{} {}", arm.name, run.name))
        .collect();
    let missing = if missing.is_empty() {
        String::new()
    } else {
        format!("<p class=\"warn\">Not finished: {}.</p>\n", escape(&missing.join(", ")))
    };
    format!(
        "<h2>Models</h2>\n<div class=\"sizes\">{}</div>{missing}<p class=\"note\">Lower distances are better; the lowest is \
         coloured. Sampling cost: FLOPs of the transformer for one image, computed, with a cache, and as a multiple of the \
         first row. Bits per image: the held-out loss of all tokens of an image; compare it only between models of one \
         tokenizer.</p>\n",
        table(&head, &rows)
    )
}

/// Seconds per image at each batch size.
fn times(plan: &ComparisonPlan, outcome: &ComparisonOutcome) -> String {
    let Some((precision, device, threads)) = &outcome.speed else { return String::new() };
    let titles: Vec<String> =
        plan.scoring.speed.iter().map(|batch| format!("#s/image, batch {batch}")).collect();
    let mut head = vec!["Arm", "Size", "#FLOPs per image"];
    head.extend(titles.iter().map(String::as_str));
    let rows: Vec<(bool, Vec<String>)> = outcome
        .rows
        .iter()
        .filter(|row| !row.seconds_per_image.is_empty())
        .map(|row| {
            let mut cells = vec![escape(&row.arm), escape(&row.size), flops(row.sampling_flops)];
            let second = |batch| row.seconds_per_image.get(batch).map_or("-".into(), |s| format!("{s:.4}"));
            cells.extend(plan.scoring.speed.iter().map(second));
            (false, cells)
        })
        .collect();
    let guided = plan.arms.first().is_some_and(PlannedArm::guided);
    format!(
        "<h2>Seconds per image</h2>\n{}<p class=\"note\">All models in one run of <code>var-model speed</code>, in turn, \
         medians: sampling {} and decoding, in {} on {} with {} threads. A cache keeps what earlier tokens computed, in \
         both orders.</p>\n",
        table(&head, &rows),
        if guided { "with guidance" } else { "without guidance" },
        escape(precision),
        escape(device),
        threads
    )
}

/// The tokenizers.
fn tokenizers(outcome: &ComparisonOutcome) -> String {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "not known".to_owned(), |value| format!("{value:.digits$}"))
    };
    let rows: Vec<(bool, Vec<String>)> = outcome
        .tokenizers
        .iter()
        .map(|one| {
            let cells = vec![
                escape(&one.arm),
                escape(&one.schedule),
                one.tokens.to_string(),
                in_words(one.distance.as_ref()),
                number(one.psnr, 2),
                number(one.perplexity, 0),
                one.seconds.map_or_else(|| "not known".into(), duration),
            ];
            (false, cells)
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let counts = outcome.tokenizers.iter().find_map(|one| one.distance.as_ref()?.counts.0);
    let head =
        ["Trained by", "Sides of its maps", "#Tokens", "#rFD", "#PSNR, dB", "#Perplexity", "#Training time"];
    format!(
        "<h2>Tokenizers</h2>\n{}<p class=\"note\">rFD: distance between \
         reconstructions and originals{}. Samples come out of the same decoder, with \
         its faults.</p>\n",
        table(&head, &rows),
        counts.map_or_else(String::new, |n| format!(", {n} held-out images"))
    )
}

/// A sample grid of the largest model of each arm.
fn grids(plan: &ComparisonPlan, folder: &Path) -> Result<String> {
    let mut text = String::new();
    for arm in &plan.arms {
        let Some(run) = arm.plan.runs.iter().rev().find(|run| run.seed == arm.plan.seed) else { continue };
        let alternative = format!("Samples of {} {}", arm.name, run.name);
        if let Some(grid) = image(&folder.join(grid_of(plan, arm, run)), &alternative)? {
            text.push_str(&format!(
                "<figure><h3>{} · {}</h3>{grid}<figcaption>{}</figcaption></figure>\n",
                escape(&arm.name),
                escape(&run.name),
                escape(&arm.about)
            ));
        }
    }
    if text.is_empty() {
        return Ok(text);
    }
    Ok(format!("<h2>Samples of the largest models</h2>\n<div class=\"grids\">\n{text}</div>\n"))
}

/// What the numbers do not say.
fn limits(plan: &ComparisonPlan, outcome: &ComparisonOutcome) -> String {
    let counts = outcome.rows.iter().find_map(|row| row.distance.as_ref().map(|d| d.counts));
    let (samples, reference) = counts.unwrap_or_default();
    let number = |n: Option<u64>| n.map_or_else(|| "an unknown number of".into(), |n| n.to_string());
    let several = plan.arms.iter().any(|arm| arm.plan.runs.iter().any(|run| run.seed != arm.plan.seed));
    let mut items = vec![
        format!(
            "A distance between {} samples and {} images is larger than one of many images would be, and not by the same \
             amount for every model: compare it only within this page.",
            number(samples),
            number(reference)
        ),
        "No setting was tuned for a single arm. An arm that needs another learning rate is worse here than it could be."
            .into(),
        "The models are small. Larger ones, or other images, may order the arms differently.".into(),
    ];
    if plan.scoring.bootstrap > 0 {
        items.push(format!(
            "An interval has 95 % of {} draws of the same images. It does not cover another training.",
            plan.scoring.bootstrap
        ));
    }
    let precisions: BTreeSet<&str> = outcome.rows.iter().map(|row| row.precision.as_str()).collect();
    if precisions.len() > 1 {
        items.push(
            "The models were trained in different precisions; comparison.json has that of each.".into(),
        );
    }
    items.extend(outcome.warnings.iter().cloned());
    if !several {
        items.insert(
            1,
            "Each model was trained once. Several seeds show how much of a difference is noise.".into(),
        );
    }
    let items: String = items.iter().map(|item| format!("<li>{}</li>\n", escape(item))).collect();
    format!("<h2>What the numbers do not say</h2>\n<ul>\n{items}</ul>\n")
}

/// Settings and machine.
fn made(plan: &ComparisonPlan, outcome: &ComparisonOutcome) -> String {
    let machine = SweepMachine::here();
    let sampling: String = plan
        .arms
        .iter()
        .map(|arm| {
            let sample = &arm.plan.preset.sample;
            format!(
                "<li>{}: guidance {}, top-k {}, top-p {}</li>\n",
                escape(&arm.name),
                sample.cfg,
                sample.top_k,
                sample.top_p
            )
        })
        .collect();
    let images = plan.arms.first().map_or_else(String::new, |arm| arm.plan.images.describe());
    format!(
        "<h2>How it was made</h2>\n<p>Images: {}. Machine of the last call: {}, {} cores; it took {}. The numbers are in \
         <code>comparison.json</code>, the settings of each training in the pages of the arms.</p>\n<p>Sampling (0: \
         off):</p>\n<ul>\n{sampling}</ul>\n",
        escape(&images),
        escape(&machine.processor),
        machine.cores,
        duration(outcome.seconds)
    )
}
