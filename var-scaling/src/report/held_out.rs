//! The section of held-out sizes: forecast and outcome.

use super::Material;
use super::html::{escape, table};
use super::provenance::date;
use crate::quantity::{count, interval};

/// Forecasts of held-out sizes next to their losses; empty without held-out sizes.
pub(crate) fn section(material: &Material) -> String {
    let Some(file) = &material.forecasts else { return String::new() };
    let four = |value: Option<f64>| value.map_or_else(|| "—".into(), |v| format!("{v:.4}"));
    let mut rows = Vec::new();
    let mut reaches: Vec<String> = Vec::new();
    for outcome in file.outcomes(&material.results.held_out) {
        let (size, forecast) = (outcome.size, outcome.forecast);
        let difference = outcome.measured.zip(forecast.loss).map(|(measured, loss)| measured - loss);
        let words = match outcome.inside() {
            Some(true) => "inside",
            Some(false) => "outside",
            None if outcome.measured.is_none() => "not trained yet",
            None => "no interval",
        };
        rows.push((
            false,
            vec![
                escape(&size.name),
                escape(&forecast.metric.replace('_', " ")),
                forecast.variables().into(),
                four(forecast.loss),
                four(outcome.measured),
                difference.map_or_else(|| "—".into(), |d| format!("{d:+.4}").replace('-', "−")),
                words.into(),
                interval(forecast.of_training, 4),
                interval(forecast.of_law, 4),
            ],
        ));
        let place = format!(
            "{}: {} parameters, {} tokens",
            size.name,
            count(size.parameters as f64),
            count(size.tokens as f64)
        );
        let reach =
            if forecast.reach.is_empty() { "inside the trainings".into() } else { forecast.reach.join(", ") };
        let line = format!("<li>{}: {}.</li>\n", escape(&place), escape(&reach));
        if !reaches.contains(&line) {
            reaches.push(line);
        }
    }
    let head = [
        "Size",
        "Score",
        "Law of",
        "#Forecast",
        "#Measured",
        "#Difference",
        "Outcome",
        "95 % of one training",
        "95 % of the law",
    ];
    format!(
        "<h2>Forecast before the training</h2>\n<p>No law on this page was fitted to these sizes. Their losses were forecast \
         from the other trainings on {}, before they were trained.</p>\n{}<ul class=\"note\">\n{}</ul>\n",
        date(file.written),
        table(&head, &rows),
        reaches.concat()
    )
}
