//! Golden group `stats`: files of statistics and images as numpy writes them.

use std::path::Path;

use serde_json::Value;
use var_tokenizer::images::Source;

use super::{Check, compare, failed, number};
use crate::statistics::file::{StatisticsFile, matrix, vector};

/// Numbers are read as they were written; the manifest has them in 16 digits.
const EXACT: f64 = 1e-15;
/// Sums may be taken in another order.
const SUMS: f64 = 1e-12;

/// Checks one file.
pub(super) fn check_entry(case: &str, id: &str, folder: &Path, entry: &Value) -> Result<Vec<Check>, String> {
    let path = &folder.join(entry["input"]["file"].as_str().unwrap_or(id));
    let expected = &entry["expected"];
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
    for (mu, sigma) in [("mu", "sigma"), ("mu_s", "sigma_s")] {
        if expected[mu].is_null() {
            continue;
        }
        let covariance = matrix(path, sigma).map_err(text)?;
        hold(sigma, &covariance.iter().copied().collect::<Vec<f64>>(), &expected[sigma]);
        // A case whose matrix is not symmetric shows the order of its numbers; it is refused as statistics.
        let symmetric = covariance.indexed_iter().all(|((i, j), x)| covariance.get((j, i)) == Some(x));
        match StatisticsFile::read(path) {
            Ok(file) => {
                let gaussian = if mu == "mu" { Some(file.pooled) } else { file.spatial };
                let mean = gaussian.map(|gaussian| gaussian.mean.to_vec()).unwrap_or_default();
                hold(mu, &mean, &expected[mu]);
            }
            Err(e) if symmetric => return Err(e.to_string()),
            Err(_) => {}
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
