//! What rows cannot tell, before any fit.

use serde_json::json;

use super::answer::begin;
use super::curves::log_line;
use super::model::Form;
use super::request::FitRequest;
use super::row::{Row, cells};
use crate::statistics::{LEAST_SIZES, line};

/// Largest distance of ln D from a line in ln N at which D counts as one power of N.
const ONE_LINE: f64 = 0.02;

/// A law without coefficients, if the rows carry none.
pub(super) fn refusal(
    rows: &[Row],
    request: &FitRequest,
    form: Form,
) -> Option<serde_json::Map<String, serde_json::Value>> {
    let with = |status: &str, key: &str, value: serde_json::Value| {
        let mut law = begin(request, status);
        law.insert(key.into(), value);
        Some(law)
    };
    if request.given.is_some_and(|e| rows.iter().any(|r| r.loss <= e)) {
        return with("at_bound", "bound", "E_at_data".into());
    }
    if form == Form::Power {
        if different(rows, |r| r.x) < LEAST_SIZES {
            return Some(begin(request, "too_few_sizes"));
        }
        let (slope, _) = line(rows.iter().map(|r| (r.logs.0, r.loss)));
        return (slope >= 0.0).then(|| begin(request, "not_falling"));
    }
    if cells(rows).len() < form.count() + 1 - usize::from(request.given.is_some()) {
        return Some(begin(request, "too_few_sizes"));
    }
    let names = unidentified(rows);
    if names.is_empty() { None } else { with("not_identifiable", "unidentified", json!(names)) }
}

/// The coefficients of a joint law that these rows cannot tell, in the order of their names.
pub(super) fn unidentified(rows: &[Row]) -> Vec<&'static str> {
    match (different(rows, |r| r.x) < 3, different(rows, |r| r.d) < 3) {
        (true, true) => return vec!["A", "B", "E", "alpha", "beta"],
        (true, false) => return vec!["A", "E", "alpha"],
        (false, true) => return vec!["B", "E", "beta"],
        (false, false) => {}
    }
    let points: Vec<(f64, f64)> = rows.iter().map(|r| (r.x, r.d)).collect();
    let one_line = log_line(&points).is_some_and(|line| {
        let off = |(x, d): &(f64, f64)| (d.ln() - line.coefficient.ln() - line.exponent * x.ln()).abs();
        points.iter().all(|point| off(point) < ONE_LINE)
    });
    // D is one power of N in every run: two powers of one variable.
    if one_line { vec!["A", "B", "alpha", "beta"] } else { Vec::new() }
}

fn different(rows: &[Row], value: impl Fn(&Row) -> f64) -> usize {
    let all: std::collections::BTreeSet<u64> = rows.iter().map(|row| value(row).to_bits()).collect();
    all.len()
}
