//! The section "How it was made": settings, machine, durations.

use serde_json::Value;

use super::Material;
use super::html::{escape, table};
use crate::quantity::duration;
use crate::results::precisions;

/// The section, as a table.
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
                "{}, {} cores in use, {:.0} GiB of memory, {}",
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
    let samples: f64 =
        record.stages.iter().filter(|(n, _)| n.starts_with("samples of")).map(|(_, s)| s.seconds).sum();
    for (name, stage) in record.stages.iter().filter(|(n, _)| !n.starts_with("samples of")) {
        let mut value = duration(stage.seconds);
        for (key, word) in [
            ("train", "training rows"),
            ("val", "held-out rows"),
            ("bad", "unreadable images"),
            ("psnr", "dB PSNR"),
            ("codes_used", "codes in use"),
            ("perplexity", "code perplexity"),
        ] {
            if let Some(number) = stage.result.get(key).and_then(Value::as_f64) {
                let digits = usize::from(number.fract() != 0.0) * 2;
                value.push_str(&format!(", {number:.digits$} {word}"));
            }
        }
        row(&format!("Stage: {name}"), value);
    }
    if samples > 0.0 {
        row("Stage: samples", duration(samples));
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
        format!("<details><summary>Settings of every run</summary>\n{settings}</details>\n")
    };
    format!(
        "<h2>How it was made</h2>\n{}{settings}<p class=\"note\">Next to this page: <code>results.jsonl</code>, \
         <code>fits.json</code>, <code>plots/</code>, <code>samples/</code>, and the run folders with their training \
         curves and checkpoints.</p>\n",
        table(&["", ""], &rows)
    )
}

/// A shared setting in words.
fn in_words(key: &str, value: &str) -> (String, String) {
    let key = match key {
        "data" => "Images",
        "tokenizer" => "Tokenizer",
        "crops" => "Views per training image",
        "flip" => "Every other view mirrored",
        "limit" => "Training images at most",
        "limit_held_out" => "Held-out images at most",
        "seed" => "Seed",
        other => other,
    };
    let value = match (key, value) {
        ("Training images at most" | "Held-out images at most", "0") => "all",
        (_, "true") => "yes",
        (_, "false") => "no",
        (_, other) => other,
    };
    (key.into(), value.into())
}

/// Seconds since 1970 as a date and time in UTC.
fn date(seconds: u64) -> String {
    let days = seconds / 86_400;
    let time = seconds % 86_400;
    // Civil date from a day count; a year begins in March, so that the leap day comes last.
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
