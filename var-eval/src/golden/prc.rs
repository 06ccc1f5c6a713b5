//! Group `prc`: precision, recall, density and coverage by torch-fidelity, prdc, ADM and exact arithmetic.
//!
//! Counts must be those of exact arithmetic. The tools' own figures are held where the tool computes in `f64`;
//! their `f32` and `f16` columns move by a count or two with rounding and are left out.

use std::path::Path;

use serde_json::Value;

use super::{Check, compare, failed, recipes};
use crate::metrics::precision_recall::{self, Counts, Hits};

/// Largest relative difference of the sum and the first of the radii.
const RADII: f64 = 1e-12;

/// Checks one case; radii files are not read, the sums in the manifest stand for them.
pub(super) fn check_entry(case: &str, _folder: &Path, entry: &Value, seed: u64) -> Vec<Check> {
    let id = entry["id"].as_str().unwrap_or("?");
    measured(case, id, entry, seed).unwrap_or_else(|note| vec![failed(case, id, note)])
}

fn measured(case: &str, id: &str, entry: &Value, seed: u64) -> Result<Vec<Check>, String> {
    let input = &entry["input"];
    let (real, generated) = recipes::pair(&input["real"], &input["gen"], seed)?;
    recipes::check_sha256("real", real.view(), &entry["sha256_f32"]["real"])?;
    recipes::check_sha256("gen", generated.view(), &entry["sha256_f32"]["gen"])?;
    let mut checks = Vec::new();
    for k in [3_usize, 5] {
        let hits = precision_recall::hits(real.view(), generated.view(), k).map_err(|e| e.to_string())?;
        let found = hits.comparison();
        let expected = &entry["expected"];
        for (way, counts) in [("nonstrict", found.inclusive), ("strict", found.strict)] {
            let group = format!("exact_k{k}_counts_{way}");
            let quantities = [
                ("precision", counts.precise),
                ("recall", counts.recalled),
                ("density_sum", counts.inside),
                ("coverage", counts.covered),
            ];
            for (key, count) in quantities {
                checks.push(number(case, id, &group, key, count as f64, &expected[&group][key], 0.0));
            }
        }
        let shares = |counts: Counts| {
            [
                ("precision", found.precision(counts)),
                ("recall", found.recall(counts)),
                ("density", found.density(counts)),
                ("coverage", found.coverage(counts)),
            ]
        };
        let group = format!("prdc_k{k}_f64");
        for (key, share) in shares(found.strict) {
            checks.push(number(case, id, &group, key, share, &expected[&group][key], 1e-12));
        }
        if k == 3 {
            let group = "torch_fidelity_f64";
            let counts =
                [("precision_count", found.inclusive.precise), ("recall_count", found.inclusive.recalled)];
            for (key, count) in counts {
                checks.push(number(case, id, group, key, count as f64, &expected[group][key], 0.0));
            }
            checks.extend(radii(case, id, &entry["k3_radii"], &hits));
        }
    }
    Ok(checks)
}

fn radii(case: &str, id: &str, expected: &Value, hits: &Hits) -> Vec<Check> {
    let mut checks = Vec::new();
    for (name, radii) in [("real", &hits.real_radii), ("gen", &hits.generated_radii)] {
        let sum: f64 = radii.iter().sum();
        let key = format!("{name}_sum");
        checks.push(number(case, id, "k3_radii", &key, sum, &expected[&key], RADII * sum));
        let first = format!("{name}_first");
        for (at, radius) in radii.iter().enumerate().take(3) {
            let expected = &expected[&first][at];
            checks.push(number(
                case,
                id,
                "k3_radii",
                &format!("{first}[{at}]"),
                *radius,
                expected,
                RADII * radius,
            ));
        }
    }
    checks
}

fn number(
    case: &str,
    id: &str,
    group: &str,
    key: &str,
    found: f64,
    expected: &Value,
    tolerance: f64,
) -> Check {
    let quantity = format!("{id} {group} {key}");
    match expected.as_f64() {
        Some(expected) => compare(case, quantity, found, expected, tolerance),
        None => failed(case, &quantity, "no such number in the manifest".into()),
    }
}
