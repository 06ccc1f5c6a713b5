//! The plot of a sweep with trainings of several lengths, with its law of parameters and tokens.

use super::axis::{Axis, Scale};
use super::chart::{Chart, Mark, Series};
use super::law_chart::spread;
use super::sweep_figure::{SweepFigure, names_of, scales, size_names};
use super::{forecast, palette};
use crate::fit::held_out::Outcome;
use crate::fit::joint::JointLaw;
use crate::quantity::count;
use crate::result_line::{Metric, ResultLine};
use crate::results::Results;

/// Number of points of a curve.
const CURVE: usize = 60;

/// Loss against size, each length with its own colour and its curve of the law.
pub(super) fn by_length(
    results: &Results,
    law: &JointLaw,
    outcomes: &[Outcome<'_>],
    metric: Metric,
) -> SweepFigure {
    let (word, what, last) = names_of(metric);
    let lengths = results.lengths();
    let determined = law.is_determined();
    let law = curve(law);
    let mut series = Vec::new();
    for (i, &tokens) in lengths.iter().enumerate() {
        let color = palette::ramp(i, lengths.len());
        let runs: Vec<&ResultLine> = results.lines.iter().filter(|line| line.tokens == tokens).collect();
        let points: Vec<(f64, f64)> = runs.iter().map(|r| (r.params as f64, r.metric(metric))).collect();
        if let (Some(law), Some(first), Some(end)) = (&law, points.first(), points.last()) {
            let at = |n: f64| (n, law(n, tokens as f64));
            let line = spread(first.0 / 1.15, end.0 * 1.15, CURVE).into_iter().map(at).collect();
            series.push(Series {
                name: None,
                end: None,
                color,
                mark: if determined { Mark::Line(2) } else { Mark::Dashed },
                points: line,
            });
        }
        let name = Some(format!("{} tokens", count(tokens as f64)));
        series.push(Series { name, end: None, color, mark: Mark::Dots, points });
    }
    series.extend(forecast::series(outcomes, metric, "N, D"));
    let shown: Vec<(f64, f64)> =
        series.iter().filter(|s| s.name.is_some()).flat_map(|s| s.points.clone()).collect();
    let subtitle = match (law.is_some(), determined) {
        (true, true) => "Each dot is a trained model, the lines are the law of parameters and tokens",
        (true, false) => {
            "Each dot is a trained model; the lines are the best law of parameters and tokens, not determined"
        }
        (false, _) => "Each dot is a trained model; they do not give a law of parameters and tokens",
    };
    let chart = Chart {
        title: format!("Validation {word} against size and tokens, {}", scales(metric)),
        subtitle: subtitle.into(),
        x: Axis::around("Parameters", Scale::Log, shown.iter().map(|p| p.0)),
        y: Axis::around(what, Scale::Linear, shown.iter().map(|p| p.1)),
        names: size_names(results),
        series,
    };
    let caption = format!("{what} of each training, {}, by its number of tokens.", scales(metric));
    SweepFigure { stem: format!("{word}-lengths-{last}"), caption, chart }
}

/// The law as a function of parameters and tokens.
fn curve(law: &JointLaw) -> Option<impl Fn(f64, f64) -> f64> {
    let value = |name: &str| law.coefficient(name)?[0];
    let (e, a, alpha) = (value("E")?, value("A")?, value("alpha")?);
    let (b, beta) = (value("B")?, value("beta")?);
    Some(move |n: f64, d: f64| e + a * n.powf(-alpha) + b * d.powf(-beta))
}
