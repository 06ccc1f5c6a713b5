//! The plot of a law: its points and its curve.

use super::axis::{Axis, Scale};
use super::canvas::Drawing;
use super::chart::{Chart, ChartLayout, Mark, Series};
use super::palette;
use crate::fit::law::{FittedLaw, Status, number};
use crate::fit::power::Curve;

/// Number of points of a fitted curve.
const CURVE: usize = 120;

/// Draws the points of `law`, and `curve` over their range.
pub(crate) fn chart(law: &FittedLaw, curve: &Curve) -> Drawing {
    let points: Vec<(f64, f64)> = law.points.iter().map(|p| (p.x, p.y)).collect();
    Chart {
        title: law.subject.name.clone(),
        subtitle: law.form.clone(),
        x: Axis::around(&law.subject.variable, Scale::Log, points.iter().map(|p| p.0)),
        y: Axis::around(&law.subject.quantity, Scale::Linear, points.iter().map(|p| p.1)),
        names: Vec::new(),
        series: vec![
            Series {
                name: Some(law_legend(law)),
                end: None,
                color: palette::QUIET,
                mark: law_mark(law),
                points: law_curve(law, |x| (x, curve.at(x))),
            },
            Series {
                name: Some("points".into()),
                end: None,
                color: palette::PAIR[0],
                mark: Mark::Dots,
                points,
            },
        ],
    }
    .drawing(&ChartLayout::WIDE)
}

/// The text of a law in a legend.
pub(super) fn law_legend(law: &FittedLaw) -> String {
    match law.coefficients {
        Some(c) if law.status == Status::Determined => format!("fit: α = {}", number(c.alpha.value)),
        _ => "fit: α not determined".into(),
    }
}

/// The line of a law: dashed if the law is not determined.
pub(super) fn law_mark(law: &FittedLaw) -> Mark {
    if law.status == Status::Determined { Mark::Line(4) } else { Mark::Dashed }
}

/// The range of the points of a law, slightly widened.
fn reach(law: &FittedLaw) -> (f64, f64) {
    let xs = law.points.iter().map(|p| p.x);
    let (low, high) = xs.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), x| (l.min(x), h.max(x)));
    (low / 1.15, high * 1.15)
}

/// Points of the curve of a law over the range of its points. `at` gives the point at `x`.
pub(super) fn law_curve(law: &FittedLaw, at: impl Fn(f64) -> (f64, f64)) -> Vec<(f64, f64)> {
    let (low, high) = reach(law);
    spread(low, high, CURVE).into_iter().map(at).collect()
}

/// `count` numbers from `low` to `high`, evenly spaced in the logarithm.
pub(super) fn spread(low: f64, high: f64, count: usize) -> Vec<f64> {
    let ratio = (high / low).ln() / (count.max(2) - 1) as f64;
    (0..count).map(|i| low * (ratio * i as f64).exp()).collect()
}
