//! The outcome of a sweep: results, failures and warnings.

use std::path::PathBuf;

use serde_json::{Value, json};
use var_train::records::ModelResult;

use crate::plan::SweepPlan;
use crate::request::PlannedRun;
use crate::result_line::ResultLine;

/// The outcome of a sweep.
#[derive(Debug, Clone, PartialEq)]
pub struct SweepOutcome {
    /// Path of the report.
    pub report: PathBuf,
    /// Finished sizes, smallest first.
    pub results: Vec<ResultLine>,
    /// Forecasts of held-out sizes with what was measured, in words.
    pub forecasts: Vec<String>,
    /// Failed runs: name and reason.
    pub failed: Vec<(String, String)>,
    /// Problems that did not stop the sweep.
    pub warnings: Vec<String>,
    /// Number of images that the encoder could not read.
    pub bad: u64,
    /// Seconds of this call.
    pub seconds: f64,
}

impl SweepOutcome {
    /// The outcome as JSON.
    pub fn json(&self) -> Value {
        let failed: Vec<Value> =
            self.failed.iter().map(|(name, why)| json!({"name": name, "reason": why})).collect();
        json!({
            "event": "done", "report": self.report.display().to_string(), "results": self.results,
            "forecasts": self.forecasts, "failed": failed, "warnings": self.warnings, "bad": self.bad, "seconds": self.seconds,
        })
    }
}

/// The line of `results.jsonl` for a finished training, or the reason why `result` cannot be used.
pub(super) fn result_line(
    plan: &SweepPlan,
    run: &PlannedRun,
    result: &Value,
) -> std::result::Result<ResultLine, String> {
    let result: ModelResult = serde_json::from_value(result.clone()).map_err(|e| {
        let null =
            result.as_object().into_iter().flatten().find(|(key, v)| v.is_null() && key.starts_with("val_"));
        match null {
            Some((key, _)) => format!("its result has no usable {key}"),
            None => format!("its result is incomplete: {e}"),
        }
    })?;
    Ok(ResultLine {
        name: run.name.clone(),
        depth: run.size.depth,
        width: run.size.width,
        heads: run.size.heads,
        params: result.parameters,
        steps: run.steps,
        tokens: result.tokens,
        flops: result.flops,
        val_loss_all: result.val_loss_all,
        val_loss_last: result.val_loss_last,
        val_err_all: result.val_err_all,
        val_err_last: result.val_err_last,
        seconds: result.seconds,
        seed: run.seed,
        held_out: run.held_out,
        run: PathBuf::from("runs").join(&run.name),
        precision: result.precision,
        plan: plan.fingerprint(run),
    })
}
