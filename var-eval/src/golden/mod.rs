//! Golden cases: numbers of published tools that this crate must reproduce.
//!
//! The `manifest.json` in a folder names its group; groups of other crates have no checks here. A case has recipes for its
//! inputs, their SHA-256 (so that a wrong input is found before a wrong metric), and the results of the tools.

mod fd_infinity;
mod frechet;
mod generator;
pub mod inception;
mod inception_score;
mod kid;
pub mod lpips;
pub mod portable;
mod precision_recall;
mod psnr_ssim;
mod recipes;
mod statistics;

use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;
pub use var_tokenizer::golden::Check;

use crate::error::{Error, Result};

/// Longest side in a recipe, so that a damaged manifest cannot exhaust memory.
const LONGEST_SIDE: u64 = 4096;

/// Checks the case `id` of a group under the seed of the manifest, or says why it cannot.
type CheckEntry =
    fn(case: &str, id: &str, entry: &Value, seed: u64) -> std::result::Result<Vec<Check>, String>;

/// Groups with independent cases.
const GROUPS: [(&str, CheckEntry); 6] = [
    ("fdinf", fd_infinity::check_entry),
    ("frechet", frechet::check_entry),
    ("is", inception_score::check_entry),
    ("kid", kid::check_entry),
    ("prc", precision_recall::check_entry),
    ("psnr_ssim", psnr_ssim::check_entry),
];

/// Checks the case folder `folder`; empty for groups of other crates. Files that cannot be read are failed checks.
pub fn check(folder: &Path) -> Vec<Check> {
    let case = folder.display().to_string();
    let manifest = match manifest(folder) {
        Ok(manifest) => manifest,
        Err(e) => return vec![failed(&case, "manifest", e.to_string())],
    };
    match manifest["group"].as_str() {
        Some("inception") => inception::check_group(folder, &manifest),
        Some("lpips") => lpips::check_group(folder, &manifest),
        Some("stats") => check_group(&case, &manifest, |case, id, entry, _| {
            statistics::check_entry(case, id, folder, entry)
        }),
        group => GROUPS
            .iter()
            .find(|(name, _)| group == Some(name))
            .map_or_else(Vec::new, |(_, check)| check_group(&case, &manifest, *check)),
    }
}

fn manifest(folder: &Path) -> Result<Value> {
    let path = folder.join("manifest.json");
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    serde_json::from_str(&text).map_err(|e| Error::file(&path, format!("is not JSON: {e}")))
}

fn check_group(
    case: &str,
    manifest: &Value,
    check: impl Fn(&str, &str, &Value, u64) -> std::result::Result<Vec<Check>, String> + Sync,
) -> Vec<Check> {
    let (Some(seed), Some(entries)) = (manifest["seed"].as_u64(), manifest["cases"].as_array()) else {
        return vec![failed(case, "manifest", "has no whole number 'seed' or no list 'cases'".into())];
    };
    if entries.is_empty() {
        return vec![failed(case, "manifest", "has no case".into())];
    }
    let checked = |entry: &Value| {
        let id = entry["id"].as_str().unwrap_or("?");
        check(case, id, entry, seed).unwrap_or_else(|note| vec![failed(case, id, note)])
    };
    entries.par_iter().flat_map_iter(checked).collect()
}

/// A number, or the text that stands for an infinite one.
fn number(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some("inf") => Some(f64::INFINITY),
        Some("-inf") => Some(f64::NEG_INFINITY),
        _ => value.as_f64(),
    }
}

fn compare(case: &str, quantity: String, found: f64, expected: f64, tolerance: f64) -> Check {
    // Infinity minus itself is NaN, but both are equal.
    let difference = if found == expected { 0.0 } else { (found - expected).abs() };
    let note = (!difference.is_finite()).then(|| format!("found {found}, expected {expected}"));
    let difference = difference.is_finite().then_some(difference);
    let pass = difference.is_some_and(|d| d <= tolerance);
    Check { case: case.to_owned(), quantity, difference, tolerance, pass, note }
}

/// Compares with a number of the manifest, with a relative tolerance.
fn relative(case: &str, quantity: String, found: f64, expected: &Value, share: f64) -> Check {
    match number(expected) {
        Some(expected) => compare(case, quantity, found, expected, share * expected.abs()),
        None => failed(case, &quantity, "no such number in the manifest".into()),
    }
}

fn failed(case: &str, quantity: &str, note: String) -> Check {
    Check {
        case: case.to_owned(),
        quantity: quantity.to_owned(),
        difference: None,
        tolerance: 0.0,
        pass: false,
        note: Some(note),
    }
}
