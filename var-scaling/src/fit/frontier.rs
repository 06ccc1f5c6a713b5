//! The Pareto frontier of loss against compute over all runs.

use serde::{Deserialize, Serialize};

/// One validation of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// The run it belongs to.
    pub run: String,
    /// The size of that run.
    pub size: String,
    /// Compute up to here, in FLOPs.
    pub flops: f64,
    /// The value, smaller is better.
    pub value: f64,
    /// Whether the run ends here.
    pub last: bool,
}

/// The points that no point of less or equal compute equals or beats, by rising compute.
pub fn pareto(points: &[Scored]) -> Vec<Scored> {
    let mut sorted: Vec<&Scored> =
        points.iter().filter(|p| p.flops.is_finite() && p.flops > 0.0 && p.value.is_finite()).collect();
    sorted.sort_by(|a, b| a.flops.total_cmp(&b.flops).then(a.value.total_cmp(&b.value)));
    let mut best = f64::INFINITY;
    let mut frontier = Vec::new();
    for point in sorted {
        if point.value < best {
            best = point.value;
            frontier.push(point.clone());
        }
    }
    frontier
}

/// The part of the frontier that a law may be fitted to: from the end of the run of least compute on.
/// Before it, the smallest size has nobody to compete with, so its curve is no frontier.
pub fn contested(points: &[Scored]) -> Vec<Scored> {
    let begin = points.iter().filter(|p| p.last).map(|p| p.flops).fold(f64::INFINITY, f64::min);
    pareto(points).into_iter().filter(|p| p.flops >= begin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(size: &str, flops: f64, value: f64, last: bool) -> Scored {
        Scored { run: size.into(), size: size.into(), flops, value, last }
    }

    #[test]
    fn the_frontier_keeps_what_nothing_cheaper_beats() {
        let points = [
            point("b", 4.0, 2.5, false),
            point("a", 1.0, 4.0, false),
            point("a", 2.0, 3.0, true),
            point("b", 2.0, 3.5, false),
            point("b", 8.0, 2.0, true),
            point("c", 8.0, 2.2, false),
            point("c", 16.0, 2.0, true),
        ];
        let kept: Vec<f64> = pareto(&points).iter().map(|p| p.value).collect();
        assert_eq!(kept, [4.0, 3.0, 2.5, 2.0]);
        let kept: Vec<f64> = contested(&points).iter().map(|p| p.value).collect();
        assert_eq!(kept, [3.0, 2.5, 2.0]);
    }

    #[test]
    fn nothing_gives_nothing_and_nan_is_left_out() {
        assert!(pareto(&[]).is_empty());
        assert_eq!(pareto(&[point("a", 1.0, f64::NAN, true), point("a", 2.0, 1.0, true)]).len(), 1);
    }
}
