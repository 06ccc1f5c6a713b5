//! The plots of a comparison: distance and loss over parameters and training compute, a colour per arm.

use super::outcome::{ComparisonOutcome, ComparisonRow};
use super::plan::ComparisonPlan;
use crate::plot::SweepFigure;
use crate::plot::axis::{Axis, Scale};
use crate::plot::chart::{Chart, Mark, Series};
use crate::plot::palette;

/// A number of a row, if it has it.
type Number = fn(&ComparisonRow) -> Option<f64>;

/// The horizontal axes: end of the file's name, title, words, number.
const ACROSS: [(&str, &str, &str, Number); 2] = [
    ("parameters", "Parameters", "size", |row| Some(row.parameters as f64)),
    ("compute", "Training compute (FLOPs)", "training compute", |row| Some(row.training_flops)),
];

/// All plots; none if every arm has a single size.
pub(super) fn figures(plan: &ComparisonPlan, outcome: &ComparisonOutcome) -> Vec<SweepFigure> {
    let sizes = |arm| outcome.of(arm).map(|row| &row.size).collect::<std::collections::BTreeSet<_>>().len();
    if plan.arms.iter().all(|arm| sizes(arm) < 2) {
        return Vec::new();
    }
    let name = outcome.rows.iter().find_map(|row| row.distance.as_ref()).map(|d| d.name.clone());
    let mut all = Vec::new();
    for across in ACROSS {
        if let Some(name) = &name {
            let title = format!("{name} of samples");
            let distance: Number = |row| row.distance.as_ref().map(|distance| distance.value);
            all.push(figure(plan, outcome, across, ("distance", &title, distance)));
        }
    }
    for across in ACROSS {
        let bits: Number = |row| Some(row.bits_per_image);
        all.push(figure(plan, outcome, across, ("loss", "Held-out loss (bits per image)", bits)));
    }
    all
}

fn figure(
    plan: &ComparisonPlan,
    outcome: &ComparisonOutcome,
    (across, x_title, words, x): (&str, &str, &str, Number),
    (stem, y_title, y): (&str, &str, Number),
) -> SweepFigure {
    let mut series = Vec::new();
    let mut values = Vec::new();
    let with_interval = stem == "distance";
    for (i, arm) in plan.arms.iter().enumerate() {
        let color = palette::kind(i);
        let points: Vec<(f64, f64)> = outcome.of(arm).filter_map(|row| Some((x(row)?, y(row)?))).collect();
        values.extend(points.iter().copied());
        for row in outcome.of(arm).filter(|_| with_interval) {
            let Some(((low, high), x)) = row.distance.as_ref().and_then(|d| d.interval).zip(x(row)) else {
                continue;
            };
            values.extend([(x, low), (x, high)]);
            let points = vec![(x, low), (x, high)];
            series.push(Series { name: None, end: None, color, mark: Mark::Line(2), points });
        }
        // Seeds of a size are dots; the line goes through their mean.
        let name = Some(arm.name.clone());
        series.push(Series { name, end: None, color, mark: Mark::Dots, points: points.clone() });
        series.push(Series { name: None, end: None, color, mark: Mark::Line(3), points: means(&points) });
    }
    let found = outcome.rows.iter().find_map(|row| row.distance.as_ref()).filter(|_| with_interval);
    let subtitle = match found {
        None => "Losses of different tokenizers do not compare".into(),
        Some(distance) => {
            let samples =
                distance.counts.0.map_or_else(String::new, |n| format!("; {n} samples of each model"));
            let bars = if distance.interval.is_some() { "; bars: 95 % over samples" } else { "" };
            format!("Lower is better{samples}{bars}")
        }
    };
    let chart = Chart {
        title: format!("{y_title} against {words}"),
        subtitle,
        x: Axis::around(x_title, Scale::Log, values.iter().map(|p| p.0)),
        y: Axis::around(y_title, Scale::Linear, values.iter().map(|p| p.1)),
        names: Vec::new(),
        series,
    };
    let caption = format!("{y_title} of each model against its {words}, a colour per arm.");
    SweepFigure { stem: format!("{stem}-{across}"), caption, chart }
}

/// One point per place on the horizontal axis: the mean of its points, from left to right.
fn means(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut places: Vec<f64> = points.iter().map(|p| p.0).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let mean = |x: f64| {
        let here: Vec<f64> = points.iter().filter(|p| p.0 == x).map(|p| p.1).collect();
        (x, here.iter().sum::<f64>() / here.len() as f64)
    };
    places.into_iter().map(mean).collect()
}

#[cfg(test)]
mod tests {
    use super::means;

    #[test]
    fn seeds_of_a_size_are_one_point_of_the_line() {
        assert_eq!(means(&[(2.0, 5.0), (1.0, 3.0), (1.0, 5.0)]), [(1.0, 4.0), (2.0, 5.0)]);
    }
}
