//! The law of parameters and tokens of a sweep with trainings of several lengths.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::options::FitOptions;
use crate::quantity::interval;
use crate::regression::{self, Law};
use crate::result_line::{Metric, ResultLine};
use crate::results::Results;

/// Numbers of parameters, and of tokens, that differ at least.
const LEAST: usize = 3;

/// `L = E + A·N^−alpha + B·D^−beta`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JointLaw {
    /// Short name, for example `L_all(N, D)`.
    pub name: String,
    /// What is scored.
    pub quantity: String,
    /// Trainings.
    pub runs: usize,
    /// Status, coefficients and the rest, as in the laws of a table.
    #[serde(flatten)]
    pub law: Map<String, Value>,
}

impl JointLaw {
    /// The laws of the two losses. None where too few sizes or lengths differ.
    pub(crate) fn of(results: &Results, options: &FitOptions) -> Vec<Self> {
        if !Self::possible(results) {
            return Vec::new();
        }
        [Metric::LossAll, Metric::LossLast].map(|metric| one(results, metric, options)).into()
    }

    /// Whether enough sizes and lengths differ, and a length is not just another name of a size.
    pub(crate) fn possible(results: &Results) -> bool {
        let different = |value: &dyn Fn(&ResultLine) -> u64| {
            results.lines.iter().map(value).collect::<BTreeSet<u64>>().len() >= LEAST
        };
        results.has_several_lengths() && different(&|line| line.params) && different(&|line| line.tokens)
    }

    /// Value and ends of a coefficient.
    pub fn coefficient(&self, name: &str) -> Option<[Option<f64>; 3]> {
        let found = self.law.get("coefficients")?.get(name)?;
        Some(["value", "low", "high"].map(|key| found.get(key).and_then(Value::as_f64)))
    }

    /// Whether the trainings determine it.
    pub(crate) fn is_determined(&self) -> bool {
        self.law.get("status").and_then(Value::as_str) == Some("determined")
    }

    /// The status in words, with the coefficients that there are.
    pub fn words(&self) -> String {
        let status = self.law.get("status").and_then(Value::as_str).unwrap_or_default().replace('_', " ");
        let mut text = status;
        for name in ["E", "alpha", "beta"] {
            if let Some([Some(value), low, high]) = self.coefficient(name) {
                text += &format!(", {name} {value:.3} ({})", interval([low, high], 3));
            }
        }
        text
    }
}

/// Parameters, tokens and the score of trainings.
pub(super) fn rows<'a>(
    lines: impl IntoIterator<Item = &'a ResultLine>,
    metric: Metric,
) -> Vec<(f64, f64, f64)> {
    let row = |line: &ResultLine| (line.params as f64, line.tokens as f64, line.metric(metric));
    lines.into_iter().map(row).collect()
}

fn one(results: &Results, metric: Metric, options: &FitOptions) -> JointLaw {
    let rows = rows(&results.lines, metric);
    let request = regression::FitRequest {
        law: Law::Joint,
        given: options.irreducible_of(metric).given(),
        objective: Some(regression::Objective::Squares),
        level: options.level,
        ..regression::FitRequest::default()
    };
    let mut law = regression::of_runs(&rows, &request);
    // Rows are runs here.
    for outlier in law.get_mut("outliers").and_then(Value::as_array_mut).into_iter().flatten() {
        let line = outlier["line"].as_u64().and_then(|i| results.lines.get(i as usize));
        *outlier = serde_json::json!({"run": line.map(|line| &line.name), "residual": outlier["residual"]});
    }
    let name = format!("{}(N, D)", metric.symbol());
    JointLaw { name, quantity: metric.words().into(), runs: rows.len(), law }
}
