//! The numbers of a comparison: one row per model and way to sample from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use var_eval::{Quantity, ScoreReport};

use super::places::{evaluation_of, folder_of, has_tokenizer, is_timed, reconstruction_of};
use super::plan::{ComparisonPlan, PlannedArm};
use crate::error::{Error, Result};
use crate::json_text::without_mark;
use crate::result_line::ResultLine;
use crate::results_file;
use crate::sweep::state::read_record;

/// A Fréchet distance, with its 95 % interval if one was asked for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Distance {
    /// Name of the distance, for example `FD-efficientnet-lite0`.
    pub name: String,
    /// The distance; lower is better.
    pub value: f64,
    /// The ends of its interval: what other draws of the same images would give.
    pub interval: Option<(f64, f64)>,
    /// Number of samples, and number of images of the reference.
    pub counts: (Option<u64>, Option<u64>),
}

/// A model, and one way to sample from it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ComparisonRow {
    /// The arm.
    pub arm: String,
    /// Name of the run.
    pub run: String,
    /// Name of the size.
    pub size: String,
    /// Seed of the training.
    pub seed: u64,
    /// Number of trainable parameters.
    pub parameters: u64,
    /// Number of training images, repeats included.
    pub images: u64,
    /// FLOPs of the training.
    pub training_flops: f64,
    /// Seconds of the training.
    pub training_seconds: f64,
    /// Precision of the training: `f32` or `bf16`.
    pub precision: String,
    /// Held-out loss in nats per token.
    pub loss: f64,
    /// Held-out loss in bits per image: all tokens of an image.
    pub bits_per_image: f64,
    /// Fréchet distance of the samples.
    pub distance: Option<Distance>,
    /// FLOPs of the transformer to sample one image.
    pub sampling_flops: f64,
    /// Seconds to sample one image with the decoder, by batch size; empty if it was not timed.
    pub seconds_per_image: BTreeMap<u64, f64>,
}

/// A tokenizer of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Tokenizer {
    /// The arm that trained it.
    pub arm: String,
    /// Sides of its token maps.
    pub schedule: String,
    /// Number of tokens of an image.
    pub tokens: usize,
    /// PSNR on held-out images, in dB.
    pub psnr: Option<f64>,
    /// Perplexity of its codes.
    pub perplexity: Option<f64>,
    /// Seconds of its training.
    pub seconds: Option<f64>,
    /// Fréchet distance of its reconstructions (rFD).
    pub distance: Option<Distance>,
}

/// The outcome of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct ComparisonOutcome {
    /// Path of the report.
    pub report: PathBuf,
    /// The rows, arm by arm, each from the smallest size to the largest.
    pub rows: Vec<ComparisonRow>,
    /// The tokenizers that were trained.
    pub tokenizers: Vec<Tokenizer>,
    /// How the times were measured: precision, device and threads; `None` without times.
    pub speed: Option<(String, String, i64)>,
    /// Failed trainings: `ARM/NAME`, and reason.
    pub failed: Vec<(String, String)>,
    /// What makes numbers doubtful.
    pub warnings: Vec<String>,
    /// Seconds of this call.
    pub seconds: f64,
}

/// The content of `speed.json`.
#[derive(Deserialize)]
struct SpeedFile {
    report: SpeedParts,
}

/// The parts of the report of `var-model speed` that a comparison uses.
#[derive(Deserialize)]
struct SpeedParts {
    precision: String,
    device: String,
    threads: i64,
    rows: Vec<SpeedRow>,
}

#[derive(Deserialize)]
struct SpeedRow {
    model: PathBuf,
    batch: u64,
    images_per_second: f64,
}

impl ComparisonOutcome {
    /// The outcome as JSON.
    pub fn json(&self) -> Value {
        json!({
            "event": "done", "report": self.report, "rows": self.rows, "tokenizers": self.tokenizers,
            "speed": self.speed.as_ref().map(|(precision, device, threads)| json!({
                "precision": precision, "device": device, "threads": threads,
            })),
            "failed": self.failed.iter().map(|(name, why)| json!({"name": name, "reason": why})).collect::<Vec<_>>(),
            "warnings": self.warnings,
            "seconds": self.seconds,
        })
    }

    /// The rows of an arm.
    pub(super) fn of<'a>(&'a self, arm: &'a PlannedArm) -> impl Iterator<Item = &'a ComparisonRow> + Clone {
        self.rows.iter().filter(|row| row.arm == arm.name)
    }
}

/// Collects the numbers of the comparison in the folder `root`.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn outcome(plan: &ComparisonPlan, root: &Path) -> Result<ComparisonOutcome> {
    let file =
        if plan.scoring.speed.is_empty() { None } else { read::<SpeedFile>(&root.join("speed.json"))? };
    let speed = file.map(|file| file.report);
    let (mut rows, mut warnings) = (Vec::new(), Vec::new());
    for arm in &plan.arms {
        let lines = finished(arm, root)?;
        for run in &arm.plan.runs {
            let Some(line) = lines.iter().find(|line| line.name == run.name) else { continue };
            let model = root.join(folder_of(arm, run));
            let timed = speed.iter().filter(|_| is_timed(plan, arm)).flat_map(|speed| &speed.rows);
            let timed = timed.filter(|row| row.model.starts_with(&model));
            let evaluation = root.join(evaluation_of(plan, arm, run));
            for warning in warnings_of(&evaluation)? {
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
            rows.push(ComparisonRow {
                arm: arm.name.clone(),
                run: run.name.clone(),
                size: run.size.name.clone(),
                seed: run.seed,
                parameters: line.params,
                images: run.steps * run.batch,
                training_flops: line.flops,
                training_seconds: line.seconds,
                precision: line.precision.clone(),
                loss: line.val_loss_all,
                bits_per_image: line.val_loss_all * arm.tokens() as f64 / std::f64::consts::LN_2,
                distance: distance(&evaluation)?,
                sampling_flops: arm.sampling_flops(run),
                seconds_per_image: timed.map(|row| (row.batch, 1.0 / row.images_per_second)).collect(),
            });
        }
    }
    let mut tokenizers = Vec::new();
    for arm in plan.arms.iter().filter(|arm| has_tokenizer(arm)) {
        let record = read_record(&root.join(&arm.name))?.unwrap_or_default();
        let result = record.stages.tokenizer.as_ref().and_then(|stage| stage.result.as_ref());
        tokenizers.push(Tokenizer {
            arm: arm.name.clone(),
            schedule: arm.plan.preset.tokens.schedule.to_string(),
            tokens: arm.tokens(),
            psnr: result.map(|result| result.psnr),
            perplexity: result.and_then(|result| result.perplexity),
            seconds: result.map(|result| result.seconds),
            distance: distance(&root.join(reconstruction_of(arm)))?,
        });
    }
    Ok(ComparisonOutcome {
        report: PathBuf::new(),
        rows,
        tokenizers,
        speed: speed.map(|speed| (speed.precision, speed.device, speed.threads)),
        failed: Vec::new(),
        warnings,
        seconds: 0.0,
    })
}

/// The results of the finished models of an arm; empty if none finished.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn finished(arm: &PlannedArm, root: &Path) -> Result<Vec<ResultLine>> {
    let path = root.join(&arm.models).join("results.jsonl");
    if path.is_file() { Ok(results_file::read(&path)?.lines) } else { Ok(Vec::new()) }
}

/// The warnings about a score.
fn warnings_of(folder: &Path) -> Result<Vec<String>> {
    let report: Option<ScoreReport> = read(&folder.join("metrics.json"))?;
    Ok(report.into_iter().flat_map(|report| report.warnings).map(|warning| warning.message).collect())
}

/// The Fréchet distance in the folder of an evaluation; `None` if it is not there.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn distance(folder: &Path) -> Result<Option<Distance>> {
    let report: Option<ScoreReport> = read(&folder.join("metrics.json"))?;
    let figure = report.into_iter().flat_map(|report| report.metrics).find(|f| f.metric == Quantity::Fd);
    Ok(figure.map(|figure| Distance {
        name: figure.name,
        value: figure.value,
        interval: figure.interval.map(|interval| (interval.low, interval.high)),
        counts: figure.n,
    }))
}

/// The content of a JSON file; `None` if it is missing.
///
/// # Errors
/// When it cannot be read, or is damaged.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    serde_json::from_str(without_mark(&text)).map(Some).map_err(|e| {
        Error::file(path, format!("is damaged ({e}); delete it, and run the same command again"))
    })
}
