//! The plots of a sweep.

use std::path::Path;

use plotters::style::RGBColor;
use var_tokenizer::files::make_folder;

use super::axis::{Axis, Scale};
use super::chart::{Chart, Mark, Series};
use super::law_chart::{law_curve, law_legend, law_mark};
use super::palette;
use super::sweep_figure::{SweepFigure, names_of, scales, size_names};
use super::{forecast, lengths};
use crate::error::Result;
use crate::fit::ForecastsFile;
use crate::fit::frontier::{Scored, pareto};
use crate::fit::held_out::Outcome;
use crate::fit::law::{FittedLaw, Irreducible};
use crate::fit::laws::{COMPUTE_UNIT, FitsFile, validations};
use crate::quantity::count;
use crate::result_line::{Metric, PARAMETER_UNIT, ResultLine};
use crate::results::Results;
use crate::scores::ImageScores;

/// All plots of a sweep.
pub(crate) fn figures(
    results: &Results,
    fits: &FitsFile,
    forecasts: Option<&ForecastsFile>,
) -> Vec<SweepFigure> {
    let outcomes = forecasts.map(|file| file.outcomes(&results.held_out)).unwrap_or_default();
    let mut all: Vec<SweepFigure> =
        Metric::ALL.map(|metric| by_parameters(results, fits, &outcomes, metric)).into();
    all.push(reducible(results, fits));
    all.extend(
        fits.joint
            .iter()
            .zip(Metric::ALL)
            .map(|(law, metric)| lengths::by_length(results, law, &outcomes, metric)),
    );
    all.extend(Metric::ALL.map(|metric| by_compute(results, fits, metric)));
    all.push(training(results));
    all.extend(results.scores.as_ref().and_then(|scores| by_score(results, scores)));
    all
}

/// Writes every plot as SVG and PNG into `folder` and returns them.
///
/// # Errors
/// When drawing fails or a file cannot be written.
pub(crate) fn draw_all(
    results: &Results,
    fits: &FitsFile,
    forecasts: Option<&ForecastsFile>,
    folder: &Path,
) -> Result<Vec<SweepFigure>> {
    make_folder(folder)?;
    let all = figures(results, fits, forecasts);
    for figure in &all {
        figure.wide().write(folder, &figure.stem)?;
    }
    Ok(all)
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
}

fn color(metric: Metric) -> RGBColor {
    palette::PAIR[usize::from(matches!(metric, Metric::LossLast | Metric::ErrorLast))]
}

fn by_parameters(
    results: &Results,
    fits: &FitsFile,
    outcomes: &[Outcome<'_>],
    metric: Metric,
) -> SweepFigure {
    let (word, what, last) = names_of(metric);
    let color = color(metric);
    let lines = results.equal_lengths();
    let mut series = Vec::new();
    let law = fits.law(&format!("{}(N)", metric.symbol()));
    let mut subtitle = "Each dot is a trained model".to_owned();
    if let Some((law, curve)) = law.and_then(|l| Some((l, l.curve()?))) {
        let line = law_curve(law, |x| (x * PARAMETER_UNIT, curve.at(x)));
        series.push(Series {
            name: Some(law_legend(law)),
            end: None,
            color: palette::QUIET,
            mark: law_mark(law),
            points: line,
        });
        subtitle.push_str(", the line is the fitted law");
    } else {
        subtitle.push_str("; the points do not give an exponent");
    }
    let points: Vec<(f64, f64)> = lines.iter().map(|r| (r.params as f64, r.metric(metric))).collect();
    series.push(Series { name: Some("trained models".into()), end: None, color, mark: Mark::Dots, points });
    series.extend(forecast::series(outcomes, metric, "N"));
    let shown: Vec<(f64, f64)> =
        series.iter().filter(|s| s.name.is_some()).flat_map(|s| s.points.clone()).collect();
    let chart = Chart {
        title: format!("Validation {word} against size, {}", scales(metric)),
        subtitle,
        x: Axis::around("Parameters", Scale::Log, shown.iter().map(|p| p.0)),
        y: Axis::around(what, Scale::Linear, shown.iter().map(|p| p.1)),
        names: size_names(results),
        series,
    };
    let caption = format!("{what} of each size against its number of parameters, {}.", scales(metric));
    SweepFigure { stem: format!("{word}-parameters-{last}"), caption, chart }
}

/// Scores of images against size.
fn by_score(results: &Results, scores: &ImageScores) -> Option<SweepFigure> {
    let points: Vec<(f64, f64)> = results
        .lines
        .iter()
        .filter_map(|line| Some((line.params as f64, *scores.by_run.get(&line.name)?)))
        .collect();
    if points.is_empty() {
        return None;
    }
    let chart = Chart {
        title: format!("{} against size", scores.name),
        subtitle: format!("Lower is better; samples with {}", scores.settings),
        // The range covers all sizes, also those without a score.
        x: Axis::around("Parameters", Scale::Log, results.lines.iter().map(|r| r.params as f64)),
        y: Axis::around(&scores.name, Scale::Linear, points.iter().map(|p| p.1)),
        names: size_names(results),
        series: vec![Series {
            name: Some("trained models".into()),
            end: None,
            color: palette::PAIR[0],
            mark: Mark::Dots,
            points,
        }],
    };
    let caption = format!("{} of each scored size against its number of parameters.", scores.name);
    Some(SweepFigure { stem: "score-parameters".into(), caption, chart })
}

fn reducible(results: &Results, fits: &FitsFile) -> SweepFigure {
    let lines = results.equal_lengths();
    let mut series = Vec::new();
    let mut parts = Vec::new();
    let mut values = Vec::new();
    for metric in [Metric::LossAll, Metric::LossLast] {
        let color = color(metric);
        let law = fits.law(&format!("{}(N)", metric.symbol()));
        let curve = law.and_then(FittedLaw::curve);
        let floor = curve.map_or(0.0, |c| c.irreducible);
        let dots: Vec<(f64, f64)> = results
            .equal_lengths()
            .into_iter()
            .map(|r| (r.params as f64, r.metric(metric) - floor))
            .collect();
        values.extend(dots.iter().map(|p| p.1));
        if let (Some(law), Some(curve)) = (law, curve) {
            let points = law_curve(law, |x| (x * PARAMETER_UNIT, curve.reducible(x)));
            let name = format!("{}, {}", scales(metric), law_legend(law).trim_start_matches("fit: "));
            series.push(Series { name: Some(name), end: None, color, mark: law_mark(law), points });
            let how = if law.irreducible == Irreducible::Given { "given" } else { "fitted" };
            parts.push(format!("{} {floor:.3} ({how})", scales(metric)));
        } else {
            parts.push(format!("{} 0 (no exponent)", scales(metric)));
        }
        series.push(Series {
            name: Some(scales(metric).into()),
            end: None,
            color,
            mark: Mark::Dots,
            points: dots,
        });
    }
    series.sort_by_key(|s| s.mark == Mark::Dots);
    let chart = Chart {
        title: "Loss above the irreducible part".into(),
        subtitle: format!("Subtracted: {}. A power law is a straight line", parts.join(", ")),
        x: Axis::around("Parameters", Scale::Log, lines.iter().map(|r| r.params as f64)),
        y: Axis::around("Reducible validation loss (nats per token)", Scale::Log, values),
        names: size_names(results),
        series,
    };
    let caption = "The loss minus its irreducible part. Both axes are logarithmic.".into();
    SweepFigure { stem: "loss-parameters-reducible".into(), caption, chart }
}

/// The runs by size, each with the colour of its size, and whether it is the first run of its size.
fn colored(results: &Results) -> Vec<(&ResultLine, RGBColor, bool)> {
    let mut sizes: Vec<String> = Vec::new();
    for line in &results.lines {
        if !sizes.contains(&line.size()) {
            sizes.push(line.size());
        }
    }
    let mut seen: Vec<usize> = Vec::new();
    results
        .lines
        .iter()
        .map(|line| {
            let place = sizes.iter().position(|s| *s == line.size()).unwrap_or(0);
            let first = !seen.contains(&place);
            seen.push(place);
            (line, palette::ramp(place, sizes.len()), first)
        })
        .collect()
}

fn run_legend(line: &ResultLine) -> String {
    format!("{} · {}", line.size(), count(line.params as f64))
}

fn by_compute(results: &Results, fits: &FitsFile, metric: Metric) -> SweepFigure {
    let scored = validations(results, metric);
    let mut series = Vec::new();
    for (line, color, first) in colored(results) {
        let points: Vec<(f64, f64)> =
            scored.iter().filter(|p| p.run == line.name).map(|p| (p.flops, p.value)).collect();
        let name = first.then(|| run_legend(line));
        // A run with one validation is a dot.
        let mark = if points.len() > 1 { Mark::Line(3) } else { Mark::Dots };
        let end = first.then(|| line.size());
        series.push(Series { name, end, color, mark, points });
    }
    let frontier: Vec<Scored> = pareto(&scored);
    let steps = staircase(&frontier);
    let ends: Vec<(f64, f64)> = scored.iter().filter(|p| p.last).map(|p| (p.flops, p.value)).collect();
    series.push(Series {
        name: Some("frontier".into()),
        end: None,
        color: palette::QUIET,
        mark: Mark::Dashed,
        points: steps,
    });
    let law = fits.law(&format!("{}(C)", metric.symbol()));
    let mut subtitle = "Compute of each run until its validation".to_owned();
    if let Some((law, curve)) = law.and_then(|l| Some((l, l.curve()?))) {
        let points = law_curve(law, |x| (x * COMPUTE_UNIT, curve.at(x)));
        series.push(Series {
            name: Some(law_legend(law)),
            end: None,
            color: palette::PAIR[1],
            mark: law_mark(law),
            points,
        });
    } else {
        subtitle.push_str("; the frontier does not give an exponent");
    }
    let dots = Series {
        name: Some("end of a run".into()),
        end: None,
        color: palette::INK,
        mark: Mark::Dots,
        points: ends,
    };
    series.push(dots);
    let (word, what, last) = names_of(metric);
    let chart = Chart {
        title: format!("Validation {word} against compute, {}", scales(metric)),
        subtitle,
        x: Axis::around("Training compute (FLOPs)", Scale::Log, scored.iter().map(|p| p.flops)),
        y: Axis::around(what, Scale::Linear, scored.iter().map(|p| p.value)),
        names: Vec::new(),
        series,
    };
    let caption = format!(
        "{what}, {}, of all validations of all runs against the training compute until then, with the Pareto frontier.",
        scales(metric)
    );
    SweepFigure { stem: format!("{word}-compute-{last}"), caption, chart }
}

/// The frontier as steps: the lowest loss up to each amount of compute.
fn staircase(frontier: &[Scored]) -> Vec<(f64, f64)> {
    let mut steps: Vec<(f64, f64)> = Vec::new();
    for point in frontier {
        if let Some(&(_, value)) = steps.last() {
            steps.push((point.flops, value));
        }
        steps.push((point.flops, point.value));
    }
    steps
}

fn training(results: &Results) -> SweepFigure {
    let (mut batches, mut series) = (Vec::new(), Vec::new());
    for (line, color, first) in colored(results) {
        let curve = results.curve(&line.name);
        let per_step = line.tokens as f64 / line.steps.max(1) as f64;
        let raw: Vec<(f64, f64)> =
            curve.iter().filter_map(|p| Some((p.step as f64 * per_step, p.train_loss?))).collect();
        batches.push(Series { name: None, end: None, color, mark: Mark::Faint, points: smooth(&raw) });
        let points: Vec<(f64, f64)> = curve
            .iter()
            .filter_map(|p| Some((p.step as f64 * per_step, p.validation.as_ref()?.loss_all)))
            .collect();
        let (name, end) = (first.then(|| run_legend(line)), first.then(|| line.size()));
        series.push(Series { name, end, color, mark: Mark::Line(4), points });
    }
    let begin = where_they_differ(&series);
    let from = |all: &[Series]| -> Vec<(f64, f64)> {
        all.iter().flat_map(|s| s.points.iter().copied().filter(|p| p.0 >= begin)).collect()
    };
    // The range is that of the validations: losses of single batches jump.
    let shown = from(&series);
    let shown = if shown.is_empty() { from(&batches) } else { shown };
    let (first, last) = range(shown.iter().map(|p| p.0));
    let room = 0.12 * (last - first).max(0.0);
    let mut x = Axis::around("Tokens seen", Scale::Linear, [first, last + room]);
    x.low = x.low.max(0.0);
    batches.extend(series);
    let chart = Chart {
        title: "Training curves".into(),
        subtitle: "Loss over all tokens: validation (strong), training (faint, smoothed)".into(),
        x,
        y: Axis::around("Loss (nats per token)", Scale::Linear, shown.iter().map(|p| p.1)),
        names: Vec::new(),
        series: batches,
    };
    let caption = "Loss over all tokens during training, on held-out images and on the training batches. The plot starts where \
                   the sizes start to differ."
        .into();
    SweepFigure { stem: "training-curves".into(), caption, chart }
}

/// The number of tokens from which the validations of the runs differ by at least half of their final difference. Before,
/// all losses fall alike, and would use most of the height of the plot.
fn where_they_differ(series: &[Series]) -> f64 {
    let mut places: Vec<(f64, f64, f64, usize)> = Vec::new();
    for (x, y) in series.iter().flat_map(|s| s.points.iter().copied()) {
        match places.iter_mut().find(|p| p.0 == x) {
            Some(p) => *p = (x, p.1.min(y), p.2.max(y), p.3 + 1),
            None => places.push((x, y, y, 1)),
        }
    }
    places.retain(|p| p.3 > 1);
    places.sort_by(|a, b| a.0.total_cmp(&b.0));
    let spread = places.last().map_or(0.0, |p| p.2 - p.1);
    places.iter().find(|p| p.2 - p.1 >= spread / 2.0).map_or(0.0, |p| p.0)
}

/// The mean over a window that is wider for longer curves: training losses of single batches jump.
fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let width = 2 * (points.len() / 40) + 1;
    points
        .windows(width)
        .filter_map(|w| Some((w.get(width / 2)?.0, w.iter().map(|p| p.1).sum::<f64>() / width as f64)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn training_curves_begin_where_sizes_differ() {
        let series = |points: &[(f64, f64)]| Series {
            name: None,
            end: None,
            color: palette::INK,
            mark: Mark::Line(4),
            points: points.to_vec(),
        };
        let all = [
            series(&[(1.0, 6.2), (2.0, 5.4), (3.0, 5.0), (4.0, 4.8)]),
            series(&[(1.0, 6.2), (2.0, 5.3), (3.0, 4.6), (4.0, 4.4)]),
        ];
        assert_eq!(where_they_differ(&all), 3.0);
        assert_eq!(where_they_differ(&all[..1]), 0.0);
        assert_eq!(where_they_differ(&[]), 0.0);
    }
}
