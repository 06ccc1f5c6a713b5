//! The section "How it was made": settings, machine, durations.

use super::Material;
use super::html::{escape, table};
use crate::quantity::duration;
use crate::results::precisions;
use crate::sweep::finished::FinishedStages;

/// The section with a table.
pub(crate) fn section(material: &Material) -> String {
    let record = &material.record;
    let mut rows: Vec<(bool, Vec<String>)> = Vec::new();
    let mut row = |key: &str, value: String| rows.push((false, vec![escape(key), escape(&value)]));
    if !record.preset.is_empty() {
        row("Preset", record.preset.clone());
    }
    for (key, value) in &record.shared {
        let (key, value) = in_words(key, value);
        row(&key, value);
    }
    if record.started > 0 {
        row("First start", date(record.started));
    }
    let machine = &record.machine;
    if machine.cores > 0 {
        row(
            "Machine",
            format!(
                "{}, {} cores, {:.0} GiB of memory, {}",
                machine.processor,
                machine.cores,
                machine.memory_mib as f64 / 1024.0,
                machine.system
            ),
        );
    }
    let precisions = precisions(&material.results.lines);
    if !precisions.is_empty() {
        row("Precision of training", precisions.join(" and "));
    }
    for StageRow { name, seconds, numbers } in stages(&record.stages) {
        let mut value = duration(seconds);
        for (number, word) in numbers {
            let digits = usize::from(number.fract() != 0.0) * 2;
            value.push_str(&format!(", {number:.digits$} {word}"));
        }
        row(&format!("Stage: {name}"), value);
    }
    row("Program", format!("var-scaling {}", env!("CARGO_PKG_VERSION")));
    let mut settings = String::new();
    for (name, values) in &record.runs {
        let list: Vec<String> = values.iter().map(|(k, v)| format!("{k} = {v}")).collect();
        settings.push_str(&format!(
            "<p><strong>{}</strong> <code>{}</code></p>\n",
            escape(name),
            escape(&list.join(", "))
        ));
    }
    let settings = if settings.is_empty() {
        String::new()
    } else {
        format!("<details><summary>Settings of each run</summary>\n{settings}</details>\n")
    };
    format!(
        "<h2>How it was made</h2>\n{}{settings}<p class=\"note\">The folder of this page also has <code>results.jsonl</code>, \
         <code>fits.json</code>, <code>plots/</code>, <code>samples/</code>, and the run folders with training curves and \
         checkpoints.</p>\n",
        table(&["", ""], &rows)
    )
}

/// A finished stage in the table.
struct StageRow {
    name: &'static str,
    seconds: f64,
    /// Numbers with their names.
    numbers: Vec<(f64, &'static str)>,
}

/// The finished stages, in the order of the table.
fn stages(stages: &FinishedStages) -> Vec<StageRow> {
    let mut all = Vec::new();
    let unreadable = |bad: u64| (bad as f64, if bad == 1 { "unreadable image" } else { "unreadable images" });
    if let Some(stage) = &stages.reconstruction {
        let numbers = stage.result.iter().map(|result| unreadable(result.bad as u64)).collect();
        all.push(StageRow { name: "reconstruction", seconds: stage.seconds, numbers });
    }
    if let Some(stage) = &stages.tokenizer {
        let mut numbers = Vec::new();
        if let Some(result) = &stage.result {
            numbers.extend([unreadable(result.bad), (result.psnr, "dB PSNR")]);
            numbers.extend(result.codes_used.map(|codes| (codes, "codes in use")));
            numbers.extend(result.perplexity.map(|perplexity| (perplexity, "code perplexity")));
        }
        all.push(StageRow { name: "tokenizer", seconds: stage.seconds, numbers });
    }
    if let Some(stage) = &stages.tokens {
        let mut numbers = Vec::new();
        if let Some(result) = &stage.result {
            numbers.extend([(result.train as f64, "training rows"), (result.val as f64, "held-out rows")]);
            numbers.push(unreadable(result.bad as u64));
        }
        all.push(StageRow { name: "tokens", seconds: stage.seconds, numbers });
    }
    let samples: f64 = stages.samples.values().map(|stage| stage.seconds).sum();
    if samples > 0.0 {
        all.push(StageRow { name: "samples", seconds: samples, numbers: Vec::new() });
    }
    all
}

/// A shared setting in words.
fn in_words(key: &str, value: &str) -> (String, String) {
    let key = match key {
        "data" => "Images",
        "tokenizer" => "Tokenizer",
        "crops" => "Views of each training image",
        "flip" => "Every second view mirrored",
        "limit" => "Maximum of training images",
        "limit_held_out" => "Maximum of held-out images",
        "seed" => "Seed",
        other => other,
    };
    let value = match (key, value) {
        ("Maximum of training images" | "Maximum of held-out images", "0") => "none",
        (_, "true") => "yes",
        (_, "false") => "no",
        (_, other) => other,
    };
    (key.into(), value.into())
}

/// Seconds since 1970 as a date and time in UTC.
pub(super) fn date(seconds: u64) -> String {
    let days = seconds / 86_400;
    let time = seconds % 86_400;
    // The date from the number of days. Years start in March here, so the leap day is the last day.
    let z = days as i64 + 719_468;
    let era = z.div_euclid(146_097);
    let day_of_era = z.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", time / 3600, time % 3600 / 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_equal_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59 UTC"),
            (1_767_225_600, "2026-01-01 00:00 UTC"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
