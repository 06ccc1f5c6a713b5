//! Golden group `kid`: Kernel Inception Distances of torch-fidelity.

use serde_json::Value;

use super::{Check, compare, failed, number, recipes};
use crate::metrics::kid::{Subset, distance, subsets};

/// Checks one case.
pub(super) fn check_entry(case: &str, id: &str, entry: &Value, seed: u64) -> Result<Vec<Check>, String> {
    let text = |e: crate::Error| e.to_string();
    let input = &entry["input"];
    let names = ["a", "b"];
    let [a, b] = recipes::pair(input, names, names.map(|name| &entry["sha256_f32"][name]), seed)?;
    let whole = |key: &str| input[key].as_u64().ok_or_else(|| format!("no whole number '{key}'"));
    let (count, size) = (whole("subsets")? as usize, whole("subset_size")? as usize);
    let tolerance = |key: &str| number(&entry["tolerance"][key]).ok_or(format!("no tolerance {key}"));
    let (rel, abs) = (tolerance("f64_rel")?, tolerance("f64_abs")?);
    let expected = &entry["expected"];
    let mut checks = Vec::new();
    let mut hold = |key: String, found: f64, value: &Value| {
        let quantity = format!("{id} {key}");
        checks.push(match number(value) {
            Some(value) => compare(case, quantity, found, value, abs.max(rel * value.abs())),
            None => failed(case, &quantity, "no such number in the manifest".into()),
        });
    };
    let head = |s: usize, side: &str, rows: usize| {
        let mut order = recipes::permutation(&format!("kid/{id}/sub{s}/{side}"), seed, rows);
        order.truncate(size);
        order
    };
    let given: Vec<Subset> = (0..count)
        .map(|s| Subset { samples: head(s, "a", a.nrows()), reference: head(s, "b", b.nrows()) })
        .collect();
    let found = distance(a.view(), b.view(), &given).map_err(text)?;
    let column = &expected["torch_fidelity_f64"];
    hold("mean".into(), found.mean, &column["mean"]);
    hold("std".into(), found.deviation, &column["std"]);
    // The manifest lists only the first of many subsets.
    for (s, expected) in column["per_subset"].as_array().into_iter().flatten().enumerate() {
        hold(format!("subset {s}"), found.subsets.get(s).copied().unwrap_or(f64::NAN), expected);
    }
    let drawn = subsets(a.nrows(), b.nrows(), count, size).map_err(text)?;
    let own = distance(a.view(), b.view(), &drawn).map_err(text)?;
    hold("own draws mean".into(), own.mean, &expected["torch_fidelity_own_rng_seed2020_f64"][0]);
    hold("own draws std".into(), own.deviation, &expected["torch_fidelity_own_rng_seed2020_f64"][1]);
    let first = drawn.first().ok_or("no subsets")?;
    for (side, rows) in [&first.samples, &first.reference].into_iter().enumerate() {
        for (i, row) in rows.iter().take(6).enumerate() {
            hold(format!("own index {side} {i}"), *row as f64, &expected["own_rng_first_indices"][side][i]);
        }
    }
    let rows: Vec<usize> = (0..a.nrows().min(b.nrows())).collect();
    let all = Subset { samples: rows.clone(), reference: rows };
    let all = distance(a.view(), b.view(), &[all]).map_err(text)?;
    hold("whole set".into(), all.mean, &expected["whole_set_mmd2_unbiased_f64"]);
    Ok(checks)
}
