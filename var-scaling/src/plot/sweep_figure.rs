//! A plot of a sweep, and the names of its metrics and sizes.

use super::canvas::Drawing;
use super::chart::{Chart, ChartLayout};
use crate::result_line::Metric;
use crate::results::Results;

/// A plot with its caption.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepFigure {
    /// File name without its ending.
    pub stem: String,
    /// A sentence about what it shows.
    pub caption: String,
    /// The plot.
    pub chart: Chart,
}

impl SweepFigure {
    /// The plot for files, and for pages with room.
    pub(crate) fn wide(&self) -> Drawing {
        self.chart.drawing(&ChartLayout::WIDE)
    }

    /// The plot for phones, and for two columns on paper.
    pub(crate) fn narrow(&self) -> Drawing {
        self.chart.drawing(&ChartLayout::NARROW)
    }
}

pub(super) fn scales(metric: Metric) -> &'static str {
    match metric {
        Metric::LossAll | Metric::ErrorAll => "all scales",
        Metric::LossLast | Metric::ErrorLast => "last scale",
    }
}

/// The name of each size, and its number of parameters.
pub(super) fn size_names(results: &Results) -> Vec<(f64, String)> {
    let mut names: Vec<(f64, String)> =
        results.lines.iter().map(|line| (line.params as f64, line.size())).collect();
    names.dedup_by(|a, b| a.1 == b.1);
    names
}

fn is_loss(metric: Metric) -> bool {
    matches!(metric, Metric::LossAll | Metric::LossLast)
}

/// `loss` or `error`, the axis' title, and the end of a file's name.
pub(super) fn names_of(metric: Metric) -> (&'static str, &'static str, &'static str) {
    let last = if matches!(metric, Metric::LossAll | Metric::ErrorAll) { "all" } else { "last" };
    if is_loss(metric) {
        ("loss", "Validation loss (nats per token)", last)
    } else {
        ("error", "Validation token error", last)
    }
}
