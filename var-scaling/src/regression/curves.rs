//! Whole training curves: the frontier, its envelope, isoFLOP parabolas, over-fitted runs.

use std::collections::BTreeMap;

use super::closed::PER_TOKEN;
use super::newton::{cholesky, substitute};
use crate::statistics::line;
use crate::statistics::lowest;

/// A validation of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scored {
    pub line: usize,
    pub run: String,
    pub n: f64,
    pub c: f64,
    pub loss: f64,
    pub step: f64,
}

/// A line in log-log: `y = coefficient·x^exponent`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct LogLine {
    pub exponent: f64,
    pub coefficient: f64,
}

/// Validations that lie more than this above the best one of their run are over-fitted.
pub(super) const RISE: f64 = 0.01;

/// The points that no point of less or equal compute equals or beats, by rising compute.
pub(super) fn frontier(points: &[Scored]) -> Vec<&Scored> {
    lowest(points, |p| (p.c, p.loss))
}

/// The curves of the runs, by rising compute.
fn curves(points: &[Scored]) -> BTreeMap<&str, Vec<&Scored>> {
    let mut all: BTreeMap<&str, Vec<&Scored>> = BTreeMap::new();
    for point in points {
        all.entry(&point.run).or_default().push(point);
    }
    for curve in all.values_mut() {
        curve.sort_by(|a, b| a.c.total_cmp(&b.c));
    }
    all
}

/// Where the run of least compute ends: before, the frontier is the curve of one run.
pub(super) fn contested_from(points: &[Scored]) -> Option<f64> {
    curves(points).values().filter_map(|curve| Some(curve.last()?.c)).min_by(f64::total_cmp)
}

/// `budgets` log-spaced budgets from `contested_from` to the end of the dearest run, and the N of the best run at each. Losses
/// are linear in ln C between validations, and no run counts outside of its own.
pub(super) fn envelope(points: &[Scored], budgets: usize) -> Vec<(f64, f64)> {
    let curves = curves(points);
    let (Some(low), Some(high)) = (contested_from(points), points.iter().map(|p| p.c).max_by(f64::total_cmp))
    else {
        return Vec::new();
    };
    let step = (high.ln() - low.ln()) / budgets.saturating_sub(1).max(1) as f64;
    let at = |i: usize| if i + 1 == budgets { high.ln().exp() } else { (low.ln() + step * i as f64).exp() };
    let best = |c: f64| {
        let found = curves.values().filter_map(|curve| {
            let (first, end) = (curve.first()?, curve.last()?);
            if c < first.c || c > end.c {
                return None;
            }
            let above = curve.partition_point(|p| p.c < c).clamp(1, curve.len().max(2) - 1);
            let (left, right) = (curve.get(above - 1)?, curve.get(above).or(curve.last())?);
            let span = (right.c / left.c).ln();
            let part = if span > 0.0 { ((c / left.c).ln() / span).clamp(0.0, 1.0) } else { 0.0 };
            Some((c, first.n, left.loss + part * (right.loss - left.loss)))
        });
        found.min_by(|a, b| a.2.total_cmp(&b.2)).map(|(c, n, _)| (c, n))
    };
    (0..budgets).filter_map(|i| best(at(i))).collect()
}

/// A run whose last validation is more than [`RISE`] above its best one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Overfitted {
    pub run: String,
    pub best_step: f64,
    pub best: f64,
    pub last: f64,
}

/// The over-fitted runs, by name.
pub(super) fn overfitted(points: &[Scored]) -> Vec<Overfitted> {
    let runs = curves(points);
    runs.into_iter()
        .filter_map(|(run, curve)| {
            let best = curve.iter().min_by(|a, b| a.loss.total_cmp(&b.loss))?;
            let last = curve.iter().max_by(|a, b| a.step.total_cmp(&b.step))?;
            (last.loss > best.loss + RISE).then(|| Overfitted {
                run: run.into(),
                best_step: best.step,
                best: best.loss,
                last: last.loss,
            })
        })
        .collect()
}

/// The parabola of a budget.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Budget {
    pub c: f64,
    pub points: usize,
    /// N and D of least loss, and that loss.
    pub vertex: Option<(f64, f64, f64)>,
    /// Why it does not count.
    pub excluded: Option<&'static str>,
}

/// A parabola of the loss in ln N for each budget.
pub(super) fn isoflop(points: &[Scored]) -> Vec<Budget> {
    let mut sorted: Vec<&Scored> = points.iter().collect();
    sorted.sort_by(|a, b| a.c.total_cmp(&b.c).then(a.n.total_cmp(&b.n)));
    sorted.chunk_by(|a, b| a.c == b.c).map(budget).collect()
}

/// The parabola of the points of one budget, by rising N.
fn budget(points: &[&Scored]) -> Budget {
    let c = points.first().map_or(f64::NAN, |p| p.c);
    let without = |reason| Budget { c, points: points.len(), vertex: None, excluded: Some(reason) };
    let rows: Vec<(f64, f64)> = points.iter().map(|p| (p.n.ln(), p.loss)).collect();
    if rows.chunk_by(|a, b| a.0 == b.0).count() < 3 {
        return without("too_few");
    }
    let middle = rows.iter().map(|r| r.0).sum::<f64>() / rows.len() as f64;
    let Some([height, slope, bend]) = parabola(&rows, middle).filter(|p| p[2] > 0.0) else {
        return without("no_minimum");
    };
    let x = middle - slope / (2.0 * bend);
    let vertex = (x.exp(), c / PER_TOKEN / x.exp(), height - slope * slope / (4.0 * bend));
    let inside = rows.first().is_some_and(|low| x >= low.0) && rows.last().is_some_and(|high| x <= high.0);
    Budget { c, points: points.len(), vertex: Some(vertex), excluded: (!inside).then_some("outside") }
}

/// Least squares of height, slope and bend about `middle`.
fn parabola(rows: &[(f64, f64)], middle: f64) -> Option<[f64; 3]> {
    let (mut m, mut right) = (vec![vec![0.0; 3]; 3], vec![0.0; 3]);
    let width = rows.iter().map(|r| (r.0 - middle).abs()).fold(0.0, f64::max);
    for (x, y) in rows {
        let u = (x - middle) / width;
        let powers = [1.0, u, u * u];
        for i in 0..3 {
            right[i] += powers[i] * y;
            for j in 0..3 {
                m[i][j] += powers[i] * powers[j];
            }
        }
    }
    let count = rows.len() as f64;
    m.iter_mut().flatten().chain(&mut right).for_each(|v| *v /= count);
    let x = substitute(&cholesky(&m)?, &right);
    Some([x[0], x[1] / width, x[2] / (width * width)])
}

/// Least squares in log-log; `None` with fewer than two different x.
pub(super) fn log_line(points: &[(f64, f64)]) -> Option<LogLine> {
    let first = points.first()?.0;
    if points.iter().all(|p| p.0 == first) {
        return None;
    }
    let (exponent, height) = line(points.iter().map(|(x, y)| (x.ln(), y.ln())));
    Some(LogLine { exponent, coefficient: height.exp() })
}
