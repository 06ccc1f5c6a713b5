//! `results.jsonl`: one line a finished size, and the training curves beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::scores::{self, Scores};
use var_tokenizer::files::write_atomically;

/// What is measured on held-out pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Cross-entropy over all tokens.
    LossAll,
    /// Cross-entropy over the last scale.
    LossLast,
    /// Share of wrong tokens.
    ErrorAll,
    /// Share of wrong tokens of the last scale.
    ErrorLast,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::LossAll, Self::LossLast, Self::ErrorAll, Self::ErrorLast];

    /// Key, as in `metrics.jsonl`.
    pub fn key(self) -> &'static str {
        match self {
            Self::LossAll => "loss_all",
            Self::LossLast => "loss_last",
            Self::ErrorAll => "err_all",
            Self::ErrorLast => "err_last",
        }
    }

    /// Symbol, as in `L_all`.
    pub fn symbol(self) -> &'static str {
        match self {
            Self::LossAll => "L_all",
            Self::LossLast => "L_last",
            Self::ErrorAll => "Err_all",
            Self::ErrorLast => "Err_last",
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::LossAll => "validation loss, all scales",
            Self::LossLast => "validation loss, last scale",
            Self::ErrorAll => "validation token error, all scales",
            Self::ErrorLast => "validation token error, last scale",
        }
    }

    /// Exponent and `β` of the paper against billions of parameters.
    pub fn published_by_parameters(self) -> (f64, f64) {
        match self {
            Self::LossAll => (-0.20, 2.5),
            Self::LossLast => (-0.23, 2.0),
            Self::ErrorAll => (-0.010, 6.5e2),
            Self::ErrorLast => (-0.016, 4.9e2),
        }
    }

    /// Exponent and `β` of the paper against 10¹⁵ FLOPs.
    pub fn published_by_compute(self) -> (f64, f64) {
        match self {
            Self::LossAll => (-0.16, 1.5e-5),
            Self::LossLast => (-0.13, 2.2e-5),
            Self::ErrorAll => (-0.011, 4.4e-2),
            Self::ErrorLast => (-0.0067, 8.1e-2),
        }
    }
}

/// One finished size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResultLine {
    /// Name of the run.
    pub name: String,
    /// Blocks.
    pub depth: usize,
    /// Channels.
    pub width: usize,
    /// Heads.
    #[serde(default)]
    pub heads: usize,
    /// Trainable parameters.
    pub params: u64,
    /// Optimizer steps.
    #[serde(default)]
    pub steps: u64,
    /// Training tokens seen, repeats included.
    pub tokens: u64,
    /// Training FLOPs.
    pub flops: f64,
    /// Validation loss over all tokens.
    pub val_loss_all: f64,
    /// Validation loss over the last scale.
    pub val_loss_last: f64,
    /// Validation token error over all tokens.
    pub val_err_all: f64,
    /// Validation token error over the last scale.
    pub val_err_last: f64,
    /// Seconds of training.
    pub seconds: f64,
    /// Seed of the run.
    #[serde(default)]
    pub seed: u64,
    /// Run folder, from the sweep folder.
    pub run: PathBuf,
    /// Precision of the products in training, `f32` or `bf16`; empty where nobody has written it down.
    #[serde(default)]
    pub precision: String,
    /// Fingerprint of the settings that it was trained with.
    #[serde(default)]
    pub plan: String,
}

impl ResultLine {
    /// The measured value.
    pub fn metric(&self, metric: Metric) -> f64 {
        match metric {
            Metric::LossAll => self.val_loss_all,
            Metric::LossLast => self.val_loss_last,
            Metric::ErrorAll => self.val_err_all,
            Metric::ErrorLast => self.val_err_last,
        }
    }

    /// Name of the size, which runs of several seeds share.
    pub fn size(&self) -> String {
        format!("{}x{}", self.depth, self.width)
    }
}

/// The four validation figures at one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Validation {
    values: [f64; 4],
}

impl Validation {
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
}

impl Results {
    /// Reads `results.jsonl` of a sweep folder, and `metrics.jsonl` and scores of each run. A run folder that is gone
    /// leaves its curve empty.
    ///
    /// # Errors
    /// When there are no results, or a line (but for a torn last one) is damaged.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("results.jsonl");
        if !path.exists() {
            return Err(Error::file(&path, "no results here; make them with `var-scaling sweep --out DIR`"));
        }
        let mut lines = read_lines(&path)?.0;
        if lines.is_empty() {
            return Err(Error::file(&path, "holds no finished size yet"));
        }
        lines.sort_by(|a, b| a.params.cmp(&b.params).then_with(|| a.name.cmp(&b.name)));
        let mut curves = BTreeMap::new();
        for line in &mut lines {
            let curve = read_curve(&folder.join(&line.run).join("metrics.jsonl"))?;
            if line.steps == 0 {
                line.steps = curve.iter().map(|p| p.step).max().unwrap_or(0);
            }
            curves.insert(line.name.clone(), curve);
        }
        let scores = scores::read(folder, &lines);
        Ok(Self { lines, curves, scores })
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

/// Lines of `results.jsonl`, and whether the last one was torn and left out. A later line of a name
/// replaces an earlier one.
///
/// # Errors
/// When the file cannot be read or a line before the last is damaged.
pub fn read_lines(path: &Path) -> Result<(Vec<ResultLine>, bool)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    // A write that was cut short may end inside a character.
    let text = String::from_utf8_lossy(&bytes);
    let mut lines: Vec<ResultLine> = Vec::new();
    let count = text.lines().count();
    let mut torn = !text.is_empty() && !text.ends_with('\n');
    for (i, line) in text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        match serde_json::from_str::<ResultLine>(line) {
            Ok(found) => {
                lines.retain(|l| l.name != found.name);
                lines.push(found);
            }
            Err(_) if i + 1 == count && torn => {}
            // A disk that lost power may also leave a last line of zeros.
            Err(_) if i + 1 == count && line.contains('\0') => torn = true,
            Err(e) => {
                return Err(Error::file(
                    path,
                    format!(
                        "line {} is damaged ({e}); remove that line, and its size is trained again",
                        i + 1
                    ),
                ));
            }
        }
    }
    Ok((lines, torn))
}

/// Reads the finished sizes for going on with a sweep and repairs a torn last line; none without a file.
///
/// # Errors
/// When the file is damaged before its last line or cannot be written.
pub fn open(path: &Path) -> Result<Vec<ResultLine>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let (lines, torn) = read_lines(path)?;
    if torn {
        write_atomically(path, lines.iter().map(to_json).collect::<Result<String>>()?.as_bytes())?;
    }
    Ok(lines)
}

/// Appends one line and syncs it.
///
/// # Errors
/// When the disk refuses.
pub fn append(path: &Path, line: &ResultLine) -> Result<()> {
    let fail = |e| Error::io(path, e);
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
    file.write_all(to_json(line)?.as_bytes()).map_err(fail)?;
    file.sync_all().map_err(fail)
}

fn to_json(line: &ResultLine) -> Result<String> {
    let text =
        serde_json::to_string(line).map_err(|e| Error::Config(format!("result {}: {e}", line.name)))?;
    Ok(format!("{text}\n"))
}

/// Reads a training curve; damaged lines are left out, a missing file is an empty curve.
fn read_curve(path: &Path) -> Result<Vec<CurvePoint>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(path, e)),
    };
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().filter_map(|l| curve_point(&serde_json::from_str(l).ok()?)).collect())
}

fn curve_point(line: &Value) -> Option<CurvePoint> {
    let number = |key: &str| line.get(key).and_then(Value::as_f64);
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

    fn line(name: &str, params: u64) -> ResultLine {
        serde_json::from_value(serde_json::json!({
            "name": name, "depth": 1, "width": 32, "params": params, "tokens": 10, "flops": 1e12,
            "val_loss_all": 5.0, "val_loss_last": 5.1, "val_err_all": 0.9, "val_err_last": 0.95,
            "seconds": 1.5, "run": format!("runs/{name}"),
        }))
        .unwrap()
    }

    #[test]
    fn a_torn_last_line_is_left_out_and_repaired() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        append(&path, &line("a", 1)).unwrap();
        append(&path, &line("b", 2)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in [whole.len() - 1, whole.len() - 20, whole.len() / 2 + 3] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let names: Vec<String> = open(&path).unwrap().into_iter().map(|l| l.name).collect();
            assert!(names == ["a"] || (names == ["a", "b"] && cut == whole.len() - 1), "{cut}: {names:?}");
            append(&path, &line("c", 3)).unwrap();
            assert_eq!(read_lines(&path).unwrap().0.last().unwrap().name, "c");
        }
    }

    #[test]
    fn damage_before_the_last_line_is_an_error_that_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        append(&path, &line("a", 1)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{{broken\n{text}")).unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("line 1 is damaged"));
    }

    #[test]
    fn results_are_sorted_by_parameters_and_a_missing_curve_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        append(&path, &line("big", 20)).unwrap();
        append(&path, &line("small", 10)).unwrap();
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
    }
}
