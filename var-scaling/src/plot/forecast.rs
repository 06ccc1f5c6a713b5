//! Held-out sizes in a plot: the interval of the forecast, and what was measured.

use super::chart::{Mark, Series};
use super::palette;
use crate::fit::held_out::Outcome;
use crate::result_line::Metric;

/// A line for the interval of one training at each held-out size, and a dot for its value. `variables`: those of the law.
pub(super) fn series(outcomes: &[Outcome<'_>], metric: Metric, variables: &str) -> Vec<Series> {
    let of = || {
        let same = |outcome: &&Outcome<'_>| {
            outcome.forecast.metric == metric.key() && outcome.forecast.variables() == variables
        };
        outcomes.iter().filter(same)
    };
    let mut all = Vec::new();
    for (i, outcome) in of().enumerate() {
        let [Some(low), Some(high)] = outcome.forecast.of_training else { continue };
        let x = outcome.size.parameters as f64;
        let name = (i == 0).then(|| format!("forecast, {:.0}%", 100.0 * outcome.forecast.level));
        let points = vec![(x, low), (x, high)];
        all.push(Series { name, end: None, color: palette::FORECAST, mark: Mark::Line(5), points });
    }
    let measured = of().filter_map(|outcome| Some((outcome.size.parameters as f64, outcome.measured?)));
    let points: Vec<(f64, f64)> = measured.collect();
    if !points.is_empty() {
        let name = Some("measured afterwards".into());
        all.push(Series { name, end: None, color: palette::HELD_OUT, mark: Mark::Dots, points });
    }
    all
}
