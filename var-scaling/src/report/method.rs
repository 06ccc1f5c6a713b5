//! How the laws were fitted: what a reader needs to judge them, and to fit them again.

use std::collections::BTreeSet;

use super::Material;
use super::html::{escape, table};
use crate::fit::law::Irreducible;
use crate::quantity::count;

/// The values of a setting over all runs: one, or the range.
fn setting(material: &Material, key: &str) -> Option<String> {
    let values: BTreeSet<&String> = material.record.runs.values().filter_map(|run| run.get(key)).collect();
    let numbers: Option<Vec<f64>> = values.iter().map(|value| value.parse().ok()).collect();
    let range = numbers.filter(|numbers| numbers.len() > 1).map(|numbers| {
        let low = numbers.iter().copied().fold(f64::INFINITY, f64::min);
        let high = numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        format!("{low} to {high}")
    });
    range.or_else(|| values.first().map(|value| (*value).clone()))
}

/// The lowest and the highest value, as text.
fn span(values: impl Iterator<Item = f64>, text: impl Fn(f64) -> String) -> String {
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low == high { text(low) } else { format!("{} to {}", text(low), text(high)) }
}

/// The section.
pub(crate) fn section(material: &Material) -> String {
    let (results, fits) = (&material.results, &material.fits);
    let lines = &results.lines;
    if lines.is_empty() {
        return String::new();
    }
    let mut rows: Vec<(bool, Vec<String>)> = Vec::new();
    let mut row = |key: &str, value: String| rows.push((false, vec![escape(key), escape(&value)]));
    let given = fits.laws.iter().filter(|law| law.irreducible == Irreducible::Given);
    let given: Vec<&str> = given.map(|law| law.subject.name.as_str()).collect();
    row(
        "Form",
        format!(
            "L = L∞ + (β·X)^α; free: α, β and L∞{}{}",
            if given.is_empty() { String::new() } else { format!(" (given for {})", given.join(", ")) },
            if fits.joint.is_empty() {
                ""
            } else {
                ". All lengths together: E + A·N^−α + B·D^−β, all five free"
            }
        ),
    );
    row("N", "trainable parameters, with embeddings, AdaLN and head".into());
    let mut tokens = "training tokens, repeats included".to_owned();
    let encoded = material.record.stages.tokens.as_ref().and_then(|stage| stage.result.as_ref());
    if let Some(encoded) = encoded {
        let batch = |line: &crate::result_line::ResultLine| {
            material.record.runs.get(&line.name)?.get("batch")?.parse::<f64>().ok()
        };
        let views: Vec<f64> =
            lines.iter().filter_map(|line| Some(line.steps as f64 * batch(line)?)).collect();
        if !views.is_empty() {
            let passes = |views: f64| format!("{:.2}", views / encoded.train.max(1) as f64);
            tokens += &format!(
                "; {} passes over {} different views of images",
                span(views.into_iter(), passes),
                count(encoded.train as f64)
            );
        }
    }
    row("D", tokens);
    row("C", "training FLOPs, counted by the parts of the network, forward and backward".into());
    let sizes: BTreeSet<String> = lines.iter().map(|line| line.size()).collect();
    let seeds: BTreeSet<u64> = lines.iter().map(|line| line.seed).collect();
    row(
        "Trainings",
        format!(
            "{} of {} sizes ({} parameters), {} of seeds, {} of lengths ({} tokens)",
            lines.len(),
            sizes.len(),
            span(lines.iter().map(|line| line.params as f64), count),
            seeds.len(),
            results.lengths().len(),
            span(lines.iter().map(|line| line.tokens as f64), count)
        ),
    );
    let equal = results.equal_lengths().len();
    let mut left = Vec::new();
    if equal < lines.len() {
        left.push(format!("{} trainings of other lengths, from the laws of N alone", lines.len() - equal));
    }
    if !results.held_out.is_empty() {
        let names: Vec<&str> = results.held_out.iter().map(|line| line.name.as_str()).collect();
        left.push(format!("held out: {}", names.join(", ")));
    }
    let unfinished = material
        .record
        .runs
        .keys()
        .filter(|name| !lines.iter().chain(&results.held_out).any(|line| line.name == **name));
    let unfinished: Vec<&str> = unfinished.map(String::as_str).collect();
    if !unfinished.is_empty() {
        left.push(format!("not finished: {}", unfinished.join(", ")));
    }
    row("Left out", if left.is_empty() { "nothing".into() } else { left.join("; ") });
    for (key, name) in [("Images per step", "batch"), ("Peak learning rate, by width", "learning_rate")] {
        if let Some(value) = setting(material, name) {
            row(key, value);
        }
    }
    row(
        "Losses",
        "of the last validation of each training, on all held-out images; of C: validations on the way, too"
            .into(),
    );
    row(
        "Objective",
        "least squares on one mean per size; where L∞ is given, of the logarithms of L − L∞".into(),
    );
    for law in &fits.joint {
        let number = |key: &str, part: &str| law.law.get(key).and_then(|one| one.get(part)).cloned();
        if let (Some(tried), Some(same)) = (number("starts", "tried"), number("starts", "same_minimum")) {
            row(&format!("Starts of {}", law.name), format!("{same} of {tried} reach the lowest minimum"));
        }
    }
    let level = fits.laws.first().map_or(0.95, |law| law.level);
    row("Intervals", format!("profile likelihood, one mean per size, {:.0} %, no draws", 100.0 * level));
    let spread: Vec<String> = fits
        .laws
        .iter()
        .filter_map(|law| {
            let (deviation, test) = (law.seed_deviation?, law.lack_of_fit?);
            Some(format!(
                "{}: seeds deviate by {deviation:.4}, F {:.1}, p {:.3}",
                law.subject.name, test.f, test.p
            ))
        })
        .collect();
    row(
        "Lack of fit",
        if spread.is_empty() {
            "not known: each size was trained once".into()
        } else {
            format!("against the spread of the seeds. {}", spread.join("; "))
        },
    );
    let held_out = match &material.forecasts {
        None => "no size was held out".into(),
        Some(file) => {
            let errors = file.outcomes(&results.held_out).into_iter().filter_map(|outcome| {
                let error = outcome.measured? - outcome.forecast.loss?;
                let (metric, law) = (&outcome.forecast.metric, outcome.forecast.variables());
                Some(format!("{metric} of {} by the law of {law}: {error:+.4}", outcome.size.name))
            });
            let errors: Vec<String> = errors.collect();
            if errors.is_empty() { "not trained yet".into() } else { errors.join("; ") }
        }
    };
    row("Held-out error", held_out);
    format!("<h2>How the laws were fitted</h2>\n{}", table(&["", ""], &rows))
}
