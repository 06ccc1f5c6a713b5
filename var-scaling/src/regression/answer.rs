//! Parts of a law in fits.json.

use serde_json::{Map, Value, json};

use super::closed::Joint;
use super::interval::Ends;
use super::request::{FitRequest, Law, word};

/// A law with its status.
pub(super) fn begin(request: &FitRequest, status: &str) -> Map<String, Value> {
    let mut law = Map::new();
    law.insert("law".into(), word(&request.law).into());
    if matches!(request.law, Law::Power | Law::Error) {
        law.insert("variable".into(), word(&request.variable).into());
    }
    law.insert("status".into(), status.into());
    law
}

/// A coefficient with its interval.
pub(super) fn coefficient(value: f64, (low, high): Ends) -> Value {
    json!({"value": value, "low": low, "high": high})
}

/// The best split of the budgets, and the compute for the losses that were asked for.
pub(super) fn split(joint: &Joint, compute: &[f64], targets: &[f64]) -> Value {
    let (a, b) = joint.exponents();
    let points = compute.iter().map(|&c| joint.split(c));
    let points: Vec<Value> = points.map(|s| json!({"C": s.c, "N": s.n, "D": s.d, "loss": s.loss})).collect();
    let targets: Vec<Value> =
        targets.iter().map(|&t| json!({"target": t, "C": joint.compute_for(t)})).collect();
    json!({"a": a, "b": b, "G": joint.g(), "points": points, "compute_for": targets})
}
