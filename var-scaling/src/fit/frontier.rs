//! The Pareto frontier of loss against compute over all runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::statistics::lowest;

/// One validation of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Scored {
    /// Its run.
    pub run: String,
    /// The size of its run.
    pub size: String,
    /// The length of its run, in tokens.
    pub length: u64,
    /// Training compute until the validation, in FLOPs.
    pub flops: f64,
    /// The value; lower is better.
    pub value: f64,
    /// Whether it is the last validation of its run.
    pub last: bool,
}

/// The points that are lower than all points of less or equal compute, by rising compute.
pub(crate) fn pareto(points: &[Scored]) -> Vec<Scored> {
    lowest(points, |p| (p.flops, p.value)).into_iter().cloned().collect()
}

/// The part of the frontier for a law: it starts at the end of the run of least compute. Before, the frontier is the curve of
/// one run.
pub(crate) fn contested(points: &[Scored]) -> Vec<Scored> {
    let begin = points.iter().filter(|p| p.last).map(|p| p.flops).fold(f64::INFINITY, f64::min);
    pareto(points).into_iter().filter(|p| p.flops >= begin).collect()
}

/// One run per size and length: the mean of its runs, at the compute where all of them have a value.
pub(crate) fn mean_runs(points: &[Scored]) -> Vec<Scored> {
    let mut means: Vec<(Scored, usize)> = Vec::new();
    let mut runs: BTreeMap<(&str, u64), BTreeSet<&str>> = BTreeMap::new();
    for point in points {
        runs.entry((&point.size, point.length)).or_default().insert(&point.run);
        let same =
            |mean: &Scored| (&mean.size, mean.length, mean.flops) == (&point.size, point.length, point.flops);
        match means.iter_mut().find(|(mean, _)| same(mean)) {
            Some((mean, count)) => {
                mean.value += point.value;
                mean.last |= point.last;
                *count += 1;
            }
            None => means.push((Scored { run: point.size.clone(), ..point.clone() }, 1)),
        }
    }
    let all = |mean: &Scored| runs.get(&(mean.size.as_str(), mean.length)).map_or(0, BTreeSet::len);
    means.retain(|(mean, count)| *count == all(mean));
    means.into_iter().map(|(mean, count)| Scored { value: mean.value / count as f64, ..mean }).collect()
}

/// The last point of each size on a frontier, which is its lowest one.
pub(crate) fn one_per_size(frontier: &[Scored]) -> Vec<Scored> {
    let mut ends: Vec<Scored> = Vec::new();
    for point in frontier.iter().rev() {
        if !ends.iter().any(|end| end.size == point.size) {
            ends.push(point.clone());
        }
    }
    ends.reverse();
    ends
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(size: &str, flops: f64, value: f64, last: bool) -> Scored {
        Scored { run: size.into(), size: size.into(), length: 1, flops, value, last }
    }

    #[test]
    fn the_frontier_has_the_points_that_no_cheaper_point_beats() {
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
    fn seeds_of_a_size_are_one_run_and_a_size_is_one_point() {
        let of = |run: &str, flops: f64, value: f64, last: bool| Scored {
            run: run.into(),
            ..point("a", flops, value, last)
        };
        let seeds = [of("a0", 1.0, 4.0, false), of("a0", 2.0, 3.0, true), of("a1", 2.0, 3.5, true)];
        let means = mean_runs(&seeds);
        assert_eq!(means.len(), 1, "the second run was not validated at 1: {means:?}");
        assert_eq!((means[0].value, means[0].last), (3.25, true));
        let longer = Scored { length: 2, ..of("a-long", 2.0, 3.3, false) };
        let means = mean_runs(&[seeds.as_slice(), &[longer]].concat());
        assert_eq!(means.len(), 2, "runs of another length have a mean of their own: {means:?}");
        let frontier = [
            point("a", 1.0, 4.0, false),
            point("a", 2.0, 3.0, true),
            point("b", 4.0, 2.5, false),
            point("b", 8.0, 2.0, true),
        ];
        let kept: Vec<f64> = one_per_size(&frontier).iter().map(|p| p.flops).collect();
        assert_eq!(kept, [2.0, 8.0]);
    }

    #[test]
    fn no_points_have_no_frontier_and_nan_is_skipped() {
        assert!(pareto(&[]).is_empty());
        assert_eq!(pareto(&[point("a", 1.0, f64::NAN, true), point("a", 2.0, 1.0, true)]).len(), 1);
    }
}
