//! What a sweep came to: the results of its sizes, and everything else worth telling.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::plan::Plan;
use crate::request::Run;
use crate::result_line::ResultLine;

/// What a sweep came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The report.
    pub report: PathBuf,
    /// Finished sizes, smallest first.
    pub results: Vec<ResultLine>,
    /// Runs that failed, each with its reason.
    pub failed: Vec<(String, String)>,
    /// Things that went wrong without stopping the sweep.
    pub warnings: Vec<String>,
    /// Pictures that encoding left out, because they could not be read.
    pub bad: u64,
    /// Seconds of this call.
    pub seconds: f64,
}

impl Outcome {
    /// The outcome for programs.
    pub fn json(&self) -> Value {
        let failed: Vec<Value> =
            self.failed.iter().map(|(name, why)| json!({"name": name, "reason": why})).collect();
        json!({
            "event": "done", "report": self.report.display().to_string(), "results": self.results,
            "failed": failed, "warnings": self.warnings, "bad": self.bad, "seconds": self.seconds,
        })
    }
}

/// The line of `results.jsonl`; fails with the key that is missing or no number.
pub fn result_line(plan: &Plan, run: &Run, result: &Value) -> std::result::Result<ResultLine, &'static str> {
    let number = |key: &'static str| {
        result.get(key).and_then(Value::as_f64).filter(|v| v.is_finite() && *v >= 0.0).ok_or(key)
    };
    Ok(ResultLine {
        name: run.name.clone(),
        depth: run.size.depth,
        width: run.size.width,
        heads: run.size.heads,
        params: number("parameters")? as u64,
        steps: run.steps,
        tokens: number("tokens")? as u64,
        flops: number("flops")?,
        val_loss_all: number("val_loss_all")?,
        val_loss_last: number("val_loss_last")?,
        val_err_all: number("val_err_all")?,
        val_err_last: number("val_err_last")?,
        seconds: number("seconds")?,
        seed: run.seed,
        run: PathBuf::from("runs").join(&run.name),
        precision: result.get("precision").and_then(Value::as_str).unwrap_or_default().to_owned(),
        plan: plan.fingerprint(run),
    })
}
