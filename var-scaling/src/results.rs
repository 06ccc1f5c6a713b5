//! The results of a sweep: one line per finished run, and the training curves next to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use var_train::records::{Losses, MetricsLine, ModelScores, Scores, StepReport, Validation};

use crate::error::{Error, Result};
use crate::fit::point::Point;
use crate::json_text::{quote_non_finite, without_mark};
use crate::result_line::{Metric, PARAMETER_UNIT, ResultLine};
use crate::results_file;
use crate::scores::{self, ImageScores};
use crate::table;

/// One line of a training curve.
#[derive(Debug, Clone, PartialEq)]
pub struct CurvePoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Training loss, on lines that have one.
    pub train_loss: Option<f64>,
    /// Held-out scores, on lines of a validation.
    pub validation: Option<ModelScores>,
}

/// The results of a sweep with the curves of its runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Results {
    /// Finished sizes, by rising parameters, without those that are held out.
    pub lines: Vec<ResultLine>,
    /// Finished sizes that no law is fitted to.
    pub held_out: Vec<ResultLine>,
    /// Curves by name of run.
    pub curves: BTreeMap<String, Vec<CurvePoint>>,
    /// Scores of images, if there are any.
    pub scores: Option<ImageScores>,
    /// What was skipped in the files, and why; one sentence each.
    pub skipped: Vec<String>,
}

impl Results {
    /// Reads the results of a sweep folder, or a CSV table with the columns of `results.jsonl`, one row per finished
    /// training. `name`, `depth`, `width`, `params`, `flops` and the four scores `val_…` are required.
    ///
    /// # Errors
    /// When there are no results, or a row or line is damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_file() { Self::read_table(path) } else { Self::read(path) }
    }

    fn read_table(path: &Path) -> Result<Self> {
        let (lines, skipped) = table::read(path)?;
        if lines.is_empty() {
            return Err(Error::file(path, "has no usable row"));
        }
        let (held_out, lines) = sorted(lines).into_iter().partition(|line| line.held_out);
        Ok(Self { lines, held_out, skipped, ..Self::default() })
    }

    /// One point per training of [`Results::equal_lengths`]: `x` in billions of parameters, `y` the held-out value of `metric`. The seeds of a size
    /// share its name.
    pub fn points(&self, metric: Metric) -> Vec<Point> {
        let point = |line: &ResultLine| Point {
            run: line.name.clone(),
            size: line.size(),
            x: line.params as f64 / PARAMETER_UNIT,
            y: line.metric(metric),
        };
        self.equal_lengths().into_iter().map(point).collect()
    }

    /// Whether a size has several lengths. The published sizes have not: each has a length of its own.
    pub fn has_several_lengths(&self) -> bool {
        let pairs: BTreeSet<(String, u64)> = self.lines.iter().map(|l| (l.size(), l.tokens)).collect();
        let sizes: BTreeSet<&String> = pairs.iter().map(|(size, _)| size).collect();
        pairs.len() > sizes.len()
    }

    /// The trainings for laws of parameters: all, unless a size has several lengths. Then those of the length that most
    /// sizes have, and of these lengths the longest.
    pub fn equal_lengths(&self) -> Vec<&ResultLine> {
        if !self.has_several_lengths() {
            return self.lines.iter().collect();
        }
        let mut sizes: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for line in &self.lines {
            sizes.entry(line.tokens).or_default().insert(line.size());
        }
        let most =
            sizes.iter().max_by_key(|(tokens, sizes)| (sizes.len(), **tokens)).map(|(tokens, _)| *tokens);
        self.lines.iter().filter(|line| Some(line.tokens) == most).collect()
    }

    /// The different lengths of the trainings in tokens, rising.
    pub fn lengths(&self) -> Vec<u64> {
        self.lines.iter().map(|line| line.tokens).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Reads `results.jsonl` of a sweep folder, and `metrics.jsonl` and scores of each run. `skipped` names unusable lines
    /// and runs without a curve.
    ///
    /// # Errors
    /// When there are no results, or a line other than an incomplete last one is damaged.
    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("results.jsonl");
        if !path.exists() {
            return Err(Error::file(
                &path,
                "no results in this folder; train a sweep here first (`var-scaling sweep`)",
            ));
        }
        let results_file::ResultRows { lines, skipped, .. } = results_file::read(&path)?;
        let mut skipped: Vec<String> = skipped.into_iter().map(|s| format!("results.jsonl: {s}")).collect();
        if lines.is_empty() {
            let why = skipped.first().map_or_else(String::new, |why| format!(" ({why})"));
            return Err(Error::file(&path, format!("has no usable result{why}")));
        }
        let mut lines = sorted(lines);
        let mut curves = BTreeMap::new();
        for line in &mut lines {
            let (curve, fault) = read_curve(&folder.join(&line.run).join("metrics.jsonl"))?;
            let place = line.run.join("metrics.jsonl");
            skipped.extend(fault.map(|fault| format!("{}: {fault}", place.display())));
            if line.steps == 0 {
                line.steps = curve.iter().map(|p| p.step).max().unwrap_or(0);
            }
            curves.insert(line.name.clone(), curve);
        }
        let (scores, more) = scores::read(folder, &lines);
        skipped.extend(more);
        let (held_out, lines) = lines.into_iter().partition(|line| line.held_out);
        Ok(Self { lines, held_out, curves, scores, skipped })
    }

    /// The curve of a run; empty if there is none.
    pub fn curve(&self, name: &str) -> &[CurvePoint] {
        self.curves.get(name).map_or(&[], Vec::as_slice)
    }
}

/// By rising parameters, then tokens, then name.
fn sorted(mut lines: Vec<ResultLine>) -> Vec<ResultLine> {
    lines.sort_by(|a, b| (a.params, a.tokens, &a.name).cmp(&(b.params, b.tokens, &b.name)));
    lines
}

/// The different precisions of the trainings, as far as they are known.
pub fn precisions(lines: &[ResultLine]) -> Vec<&str> {
    let known = lines.iter().map(|line| line.precision.as_str()).filter(|precision| !precision.is_empty());
    known.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Reads a training curve, and says what is missing. Without its file, the curve is empty.
fn read_curve(path: &Path) -> Result<(Vec<CurvePoint>, Option<String>)> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            let fault = "missing; only the final scores of this run are used";
            return Ok((Vec::new(), Some(fault.into())));
        }
        Err(e) => return Err(Error::io(path, e)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = without_mark(&text).lines().filter(|l| !l.trim().is_empty()).collect();
    let (mut points, mut bad) = (Vec::new(), 0);
    for (i, line) in lines.iter().enumerate() {
        match serde_json::from_str(&quote_non_finite(line)).ok().map(curve_point) {
            // Other lines are not part of a curve.
            Some(Line::Other) => {}
            Some(Line::Point(point)) => points.push(point),
            // An interrupted run may leave an incomplete last line.
            None if i + 1 == lines.len() && !text.ends_with('\n') => {}
            Some(Line::Unusable) | None => bad += 1,
        }
    }
    let lines = if bad == 1 { "line" } else { "lines" };
    Ok((points, (bad > 0).then(|| format!("{bad} {lines} without usable numbers skipped"))))
}

/// The content of a line of a training curve.
enum Line {
    Point(CurvePoint),
    Unusable,
    Other,
}

fn curve_point(line: MetricsLine) -> Line {
    match line {
        MetricsLine::Train(StepReport { step, losses: Losses::Model(losses), .. }) => {
            Line::Point(CurvePoint { step, train_loss: Some(losses.loss_all), validation: None })
        }
        MetricsLine::Val(Validation { step, scores: Scores::Model(scores), .. }) => {
            Line::Point(CurvePoint { step, train_loss: None, validation: Some(scores) })
        }
        MetricsLine::Train(_) | MetricsLine::Val(_) => Line::Unusable,
        MetricsLine::Other => Line::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laws_of_parameters_use_one_length_where_a_size_has_several() {
        let line = |width: usize, tokens: u64| ResultLine {
            width,
            tokens,
            ..ResultLine::example(&format!("{width}-{tokens}"), width as u64)
        };
        let of = |lines: &[(usize, u64)]| Results {
            lines: lines.iter().map(|&(width, tokens)| line(width, tokens)).collect(),
            ..Results::default()
        };
        let kept = |results: &Results| results.equal_lengths().iter().map(|l| l.tokens).collect::<Vec<_>>();
        // The published sizes have lengths of their own.
        assert_eq!(kept(&of(&[(32, 5), (64, 5), (96, 7)])), [5, 5, 7]);
        let several = of(&[(32, 5), (32, 9), (64, 5), (64, 9), (96, 7)]);
        assert_eq!(kept(&several), [9, 9]);
        assert_eq!(several.points(Metric::LossAll).len(), 2);
        assert_eq!(several.lengths(), [5, 7, 9]);
    }

    #[test]
    fn results_are_sorted_by_parameters_and_a_missing_curve_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        results_file::append(&path, &ResultLine::example("big", 20)).unwrap();
        results_file::append(&path, &ResultLine::example("small", 10)).unwrap();
        let run = folder.path().join("runs/big");
        std::fs::create_dir_all(&run).unwrap();
        let metrics = "{\"kind\":\"train\",\"step\":1,\"loss_all\":6.0,\"err_all\":0.9,\"loss\":6.0}\n\
             {\"kind\":\"val\",\"step\":2,\"loss_all\":5.5,\"loss_last\":5.6,\"err_all\":0.9,\"err_last\":0.9}\n{\"kind\":\"va";
        std::fs::write(run.join("metrics.jsonl"), metrics).unwrap();
        let results = Results::open(folder.path()).unwrap();
        assert_eq!(results.lines[0].name, "small");
        assert!(results.curve("small").is_empty());
        assert_eq!(results.curve("big").len(), 2);
        assert_eq!(results.lines[1].steps, 2);
        assert_eq!(results.skipped.len(), 1);
        assert!(results.skipped[0].starts_with("runs/small/metrics.jsonl: missing"), "{:?}", results.skipped);
    }

    #[test]
    fn lines_of_a_curve_without_numbers_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        results_file::append(&folder.path().join("results.jsonl"), &ResultLine::example("a", 20)).unwrap();
        let run = folder.path().join("runs/a");
        std::fs::create_dir_all(&run).unwrap();
        let metrics = "\u{feff}{\"kind\":\"train\",\"step\":1,\"loss_all\":6.0,\"err_all\":0.9,\"loss\":6.0}\n{\"kind\":\"train\",\"step\":2,\"loss_all\":NaN,\"err_all\":0.9,\"loss\":NaN}\n\
             {\"kind\":\"val\",\"step\":2,\"loss_all\":null,\"loss_last\":5.6,\"err_all\":0.9,\"err_last\":0.9}\n";
        std::fs::write(run.join("metrics.jsonl"), metrics).unwrap();
        let results = Results::open(folder.path()).unwrap();
        assert_eq!(results.curve("a").len(), 1);
        assert_eq!(results.skipped, ["runs/a/metrics.jsonl: 2 lines without usable numbers skipped"]);
    }
}
