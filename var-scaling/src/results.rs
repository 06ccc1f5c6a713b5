//! The results of a sweep: one line per finished run, and the training curves next to it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::result_line::{Metric, ResultLine};
use crate::rows;
use crate::scores::{self, Scores};
use crate::text::{quote_non_finite, without_mark};

/// The four validation figures at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validation {
    values: [f64; 4],
}

impl Validation {
    /// The four values, in the order of [`Metric::ALL`].
    pub fn new(values: [f64; 4]) -> Self {
        Self { values }
    }

    /// The value of one metric.
    pub fn value(&self, metric: Metric) -> f64 {
        let place = Metric::ALL.iter().position(|m| *m == metric).unwrap_or(0);
        self.values.get(place).copied().unwrap_or(f64::NAN)
    }
}

/// One line of a training curve.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Optimizer steps done.
    pub step: u64,
    /// Training loss, on lines that have one.
    pub train_loss: Option<f64>,
    /// Validation, on lines that have one.
    pub validation: Option<Validation>,
}

/// The results of a sweep with the curves of its runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Results {
    /// Finished sizes, by rising parameters.
    pub lines: Vec<ResultLine>,
    /// Curves by name of run.
    pub curves: BTreeMap<String, Vec<CurvePoint>>,
    /// Scores of pictures, where there are any.
    pub scores: Option<Scores>,
    /// What was left out of the files, and why; a sentence each.
    pub skipped: Vec<String>,
}

impl Results {
    /// Reads `results.jsonl` of a sweep folder, and `metrics.jsonl` and scores of each run. What cannot be used, and
    /// runs without a curve, are named in `skipped`.
    ///
    /// # Errors
    /// When there are no results, or a line (but for a torn last one) holds none.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("results.jsonl");
        if !path.exists() {
            return Err(Error::file(&path, "no results here; make them with `var-scaling sweep --out DIR`"));
        }
        let rows::Rows { mut lines, skipped, .. } = rows::read(&path)?;
        let mut skipped: Vec<String> = skipped.into_iter().map(|s| format!("results.jsonl: {s}")).collect();
        if lines.is_empty() {
            let why = skipped.first().map_or_else(String::new, |why| format!(" ({why})"));
            return Err(Error::file(&path, format!("holds no finished size that can be used{why}")));
        }
        lines.sort_by(|a, b| a.params.cmp(&b.params).then_with(|| a.name.cmp(&b.name)));
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
        let scores = scores::read(folder, &lines);
        Ok(Self { lines, curves, scores, skipped })
    }

    /// The curve of a run; empty when there is none.
    pub fn curve(&self, name: &str) -> &[CurvePoint] {
        self.curves.get(name).map_or(&[], Vec::as_slice)
    }
}

/// The precisions that lines were trained in, as far as they are written down, each once.
pub fn precisions(lines: &[ResultLine]) -> Vec<&str> {
    let known = lines.iter().map(|line| line.precision.as_str()).filter(|precision| !precision.is_empty());
    known.collect::<BTreeSet<_>>().into_iter().collect()
}

/// Reads a training curve, and says what of it is missing. Without its file it is empty.
fn read_curve(path: &Path) -> Result<(Vec<CurvePoint>, Option<String>)> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            let fault = "missing; without its training curve, the run counts by its end alone";
            return Ok((Vec::new(), Some(fault.into())));
        }
        Err(e) => return Err(Error::io(path, e)),
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = without_mark(&text).lines().filter(|l| !l.trim().is_empty()).collect();
    let (mut points, mut bad) = (Vec::new(), 0);
    for (i, line) in lines.iter().enumerate() {
        match serde_json::from_str::<Value>(&quote_non_finite(line)).ok() {
            // Other kinds of lines have no place in a curve.
            Some(value) if !matches!(value.get("kind").and_then(Value::as_str), Some("train" | "val")) => {}
            value => match value.as_ref().and_then(curve_point) {
                Some(point) => points.push(point),
                // A run that was stopped may leave half a line.
                None if i + 1 == lines.len() && !text.ends_with('\n') => {}
                None => bad += 1,
            },
        }
    }
    let lines = if bad == 1 { "line" } else { "lines" };
    Ok((points, (bad > 0).then(|| format!("{bad} {lines} without usable numbers left out"))))
}

fn curve_point(line: &Value) -> Option<CurvePoint> {
    let number = |key: &str| line.get(key).and_then(Value::as_f64).filter(|v| v.is_finite());
    let step = line.get("step")?.as_u64()?;
    if line.get("kind")?.as_str()? == "val" {
        let values = Metric::ALL.map(|m| number(m.key()));
        let [Some(a), Some(b), Some(c), Some(d)] = values else { return None };
        return Some(CurvePoint {
            step,
            train_loss: None,
            validation: Some(Validation { values: [a, b, c, d] }),
        });
    }
    let loss = number("loss_all").or_else(|| number("loss"))?;
    Some(CurvePoint { step, train_loss: Some(loss), validation: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_sorted_by_parameters_and_a_missing_curve_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        rows::append(&path, &ResultLine::example("big", 20)).unwrap();
        rows::append(&path, &ResultLine::example("small", 10)).unwrap();
        let run = folder.path().join("runs/big");
        std::fs::create_dir_all(&run).unwrap();
        let metrics = "{\"kind\":\"train\",\"step\":1,\"loss\":6.0}\n\
             {\"kind\":\"val\",\"step\":2,\"loss_all\":5.5,\"loss_last\":5.6,\"err_all\":0.9,\"err_last\":0.9}\n{\"kind\":\"va";
        std::fs::write(run.join("metrics.jsonl"), metrics).unwrap();
        let results = Results::read(folder.path()).unwrap();
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
        rows::append(&folder.path().join("results.jsonl"), &ResultLine::example("a", 20)).unwrap();
        let run = folder.path().join("runs/a");
        std::fs::create_dir_all(&run).unwrap();
        let metrics = "\u{feff}{\"kind\":\"train\",\"step\":1,\"loss\":6.0}\n{\"kind\":\"train\",\"step\":2,\"loss\":NaN}\n\
             {\"kind\":\"val\",\"step\":2,\"loss_all\":null,\"loss_last\":5.6,\"err_all\":0.9,\"err_last\":0.9}\n";
        std::fs::write(run.join("metrics.jsonl"), metrics).unwrap();
        let results = Results::read(folder.path()).unwrap();
        assert_eq!(results.curve("a").len(), 1);
        assert_eq!(results.skipped, ["runs/a/metrics.jsonl: 2 lines without usable numbers left out"]);
    }
}
