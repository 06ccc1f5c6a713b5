//! How the laws were fitted: what a reader needs to judge them, and to fit them again.

use std::collections::BTreeSet;

use super::Material;
use super::html::{escape, table};
use crate::fit::law::Irreducible;
use crate::quantity::count;
use crate::result_line::ResultLine;

/// The section.
pub(crate) fn section(material: &Material) -> String {
    if material.results.lines.is_empty() {
        return String::new();
    }
    let mut rows = laws(material);
    rows.extend(trainings(material));
    rows.extend(fits(material));
    let rows: Vec<(bool, Vec<String>)> =
        rows.into_iter().map(|(key, value)| (false, vec![escape(&key), escape(&value)])).collect();
    format!("<h2>How the laws were fitted</h2>\n{}", table(&["", ""], &rows))
}

type Rows = Vec<(String, String)>;

/// The lowest and the highest value, as text.
fn span(values: impl IntoIterator<Item = f64>, text: impl Fn(f64) -> String) -> String {
    let ends = values.into_iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if ends.0 == ends.1 { text(ends.0) } else { format!("{} to {}", text(ends.0), text(ends.1)) }
}

/// A number with its noun.
fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// The forms and their variables.
fn laws(material: &Material) -> Rows {
    let (results, fits) = (&material.results, &material.fits);
    let given = fits.laws.iter().filter(|law| law.irreducible == Irreducible::Given);
    let given: Vec<&str> = given.map(|law| law.subject.name.as_str()).collect();
    let mut form = "L = L∞ + (β·X)^α; free: α, β and L∞".to_owned();
    if !given.is_empty() {
        form += &format!(" (given for {})", given.join(", "));
    }
    if !fits.joint.is_empty() {
        form += ". All lengths together: E + A·N^−α + B·D^−β; free: α, β, A, B and, unless given, E";
    }
    let mut tokens = "training tokens, repeats included".to_owned();
    if let Some(encoded) = material.record.stages.tokens.as_ref().and_then(|stage| stage.result.as_ref()) {
        let views = |line: &ResultLine| {
            let batch = material.record.runs.get(&line.name)?.get("batch")?.parse::<f64>().ok()?;
            Some(line.steps as f64 * batch / encoded.train.max(1) as f64)
        };
        let passes: Vec<f64> = results.lines.iter().filter_map(views).collect();
        if !passes.is_empty() {
            let passes = span(passes, |passes| format!("{passes:.2}"));
            tokens += &format!("; {passes} passes over {} views of images", count(encoded.train as f64));
        }
    }
    let rows = [
        ("Form", form),
        ("N", "trainable parameters, with embeddings, AdaLN and head".into()),
        ("D", tokens),
        ("C", "training FLOPs, counted by the parts of the network, forward and backward".into()),
    ];
    rows.map(|(key, value)| (key.to_owned(), value)).into()
}

/// The trainings, what was left out, and their recipe.
fn trainings(material: &Material) -> Rows {
    let results = &material.results;
    let lines = &results.lines;
    let sizes: BTreeSet<String> = lines.iter().map(ResultLine::size).collect();
    let seeds: BTreeSet<u64> = lines.iter().map(|line| line.seed).collect();
    let all = format!(
        "{}: {} ({} parameters), {}, {} ({} tokens)",
        lines.len(),
        counted(sizes.len(), "size"),
        span(lines.iter().map(|line| line.params as f64), count),
        counted(seeds.len(), "seed"),
        counted(results.lengths().len(), "length"),
        span(lines.iter().map(|line| line.tokens as f64), count)
    );
    let mut left = Vec::new();
    let others = lines.len() - results.equal_lengths().len();
    if others > 0 {
        left.push(format!("{} of other lengths, from the laws of N alone", counted(others, "training")));
    }
    let held_out: Vec<&str> = results.held_out.iter().map(|line| line.name.as_str()).collect();
    for (what, names) in [("held out", held_out), ("not finished", material.unfinished())] {
        if !names.is_empty() {
            left.push(format!("{what}: {}", names.join(", ")));
        }
    }
    let left = if left.is_empty() { "nothing".into() } else { left.join("; ") };
    let mut rows = vec![("Trainings".to_owned(), all), ("Left out".into(), left)];
    for (key, name) in [("Images per step", "batch"), ("Peak learning rate, by width", "learning_rate")] {
        let values = material.record.runs.values().filter_map(|run| run.get(name)?.parse::<f64>().ok());
        let values: Vec<f64> = values.collect();
        if !values.is_empty() {
            rows.push((key.into(), span(values, |value| value.to_string())));
        }
    }
    let losses =
        "of the last validation of each training, on held-out images; of C: validations on the way, too";
    rows.push(("Losses".into(), losses.into()));
    rows
}

/// Objective, starts, intervals and tests.
fn fits(material: &Material) -> Rows {
    let fits = &material.fits;
    let objective = "least squares on one mean per size; where L∞ is given, of the logarithms of L − L∞";
    let mut rows = vec![("Objective".to_owned(), objective.to_owned())];
    for law in &fits.joint {
        let number = |part: &str| law.law.get("starts").and_then(|starts| starts.get(part));
        if let (Some(tried), Some(same)) = (number("tried"), number("same_minimum")) {
            let text = format!("{same} of {tried} reach the lowest minimum");
            rows.push((format!("Starts of {}", law.name), text));
        }
    }
    let level = fits.laws.first().map_or(0.95, |law| law.level);
    let intervals = format!("profile likelihood, one mean per size, {:.0} %, no draws", 100.0 * level);
    rows.push(("Intervals".into(), intervals));
    let tests = fits.laws.iter().filter_map(|law| {
        let (deviation, test) = (law.seed_deviation?, law.lack_of_fit?);
        let name = &law.subject.name;
        Some(format!("{name}: seeds deviate by {deviation:.4}, F {:.1}, p {:.3}", test.f, test.p))
    });
    let tests: Vec<String> = tests.collect();
    let seeded = fits.laws.iter().any(|law| law.seed_deviation.is_some());
    let lack = match (tests.is_empty(), seeded) {
        (false, _) => format!("against the spread of the seeds. {}", tests.join("; ")),
        (true, true) => "not known: there is no law to test".into(),
        (true, false) => "not known: each size was trained once".into(),
    };
    rows.push(("Lack of fit".into(), lack));
    rows.push(("Held-out error".into(), held_out(material)));
    rows
}

/// Measured minus forecast losses of the held-out sizes.
fn held_out(material: &Material) -> String {
    let Some(file) = &material.forecasts else { return "no size was held out".into() };
    let errors = file.outcomes(&material.results.held_out).into_iter().filter_map(|outcome| {
        let error = outcome.measured? - outcome.forecast.loss?;
        let (metric, law) = (&outcome.forecast.metric, outcome.forecast.variables());
        Some(format!("{metric} of {} by the law of {law}: {error:+.4}", outcome.size.name))
    });
    let errors: Vec<String> = errors.collect();
    if errors.is_empty() { "not known: no forecast, or not trained yet".into() } else { errors.join("; ") }
}
