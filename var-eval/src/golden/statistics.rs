//! Golden group `stats`: files of statistics and pictures as numpy writes them.

use std::path::Path;

use ndarray::{Array1, Array2};
use serde_json::Value;
use var_tokenizer::images::Source;

use super::{Check, compare, failed, number};
use crate::statistics::file::{StatisticsFile, vector};

/// Numbers are read as they were written.
const EXACT: f64 = 0.0;
/// Sums may be taken in another order.
const SUMS: f64 = 1e-12;

/// Checks one file.
pub(super) fn check_entry(folder: &Path, entry: &Value) -> Vec<Check> {
    let case = folder.display().to_string();
    let id = entry["id"].as_str().unwrap_or("?");
    match checked(&case, id, &folder.join(entry["input"]["file"].as_str().unwrap_or(id)), &entry["expected"])
    {
        Ok(checks) => checks,
        Err(note) => vec![failed(&case, id, note)],
    }
}

fn checked(case: &str, id: &str, path: &Path, expected: &Value) -> Result<Vec<Check>, String> {
    let text = |e: crate::Error| e.to_string();
    let mut checks = Vec::new();
    let mut hold = |key: &str, numbers: &[f64], expected: &Value| {
        let quantity = |part: &str| format!("{id} {key} {part}");
        let sum = numbers.iter().sum::<f64>();
        let first =
            (0..3).map(|i| (format!("first {i}"), numbers.get(i).copied(), &expected["first"][i], EXACT));
        let rest = [
            ("last".to_owned(), numbers.last().copied(), &expected["last"], EXACT),
            ("sum".to_owned(), Some(sum), &expected["sum"], SUMS * sum.abs().max(1.0)),
        ];
        for (part, found, expected, tolerance) in first.chain(rest) {
            match (found, number(expected)) {
                (Some(found), Some(expected)) => {
                    checks.push(compare(case, quantity(&part), found, expected, tolerance));
                }
                // A bare array is described by its beginning alone.
                (_, None) if part == "last" || part == "sum" => {}
                _ => checks.push(failed(case, &quantity(&part), "no such number".into())),
            }
        }
    };
    if path.extension().is_some_and(|ending| ending == "npy") {
        hold("array", &vector(path).map_err(text)?, expected);
        return Ok(checks);
    }
    if !expected["mu"].is_null() {
        let file = StatisticsFile::read(path).map_err(text)?;
        let mut gaussian = |mu: &str, sigma: &str, mean: &Array1<f64>, covariance: &Array2<f64>| {
            hold(mu, &mean.to_vec(), &expected[mu]);
            // numpy lists a matrix row by row, whatever its order in the file.
            hold(sigma, &covariance.iter().copied().collect::<Vec<f64>>(), &expected[sigma]);
        };
        gaussian("mu", "sigma", &file.pooled.mean, &file.pooled.covariance);
        if !expected["mu_s"].is_null() {
            let spatial = file.spatial.ok_or("has no spatial statistics")?;
            gaussian("mu_s", "sigma_s", &spatial.mean, &spatial.covariance);
        }
    }
    if !expected["arr_0"].is_null() {
        let source = Source::open(path).map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        for index in 0..source.len() {
            let picture = source.load(index).map_err(|e| e.to_string())?;
            bytes.extend(picture.as_raw().iter().map(|&byte| f64::from(byte)));
        }
        hold("arr_0", &bytes, &expected["arr_0"]);
        if !expected["arr_1"].is_null() {
            let labels: Vec<f64> = source.entries().iter().map(|entry| f64::from(entry.class)).collect();
            hold("arr_1", &labels, &expected["arr_1"]);
        }
    }
    Ok(checks)
}
