//! Golden group `prc`: precision, recall, density and coverage of torch-fidelity, ADM and prdc.

use serde_json::Value;

use super::{Check, compare, failed, number, recipes, relative};
use crate::metrics::precision_recall::{Counts, hits};

/// Shares that a tool gives in `f32` or from counts, relative.
const SHARES: f64 = 1e-6;

/// Radii, relative.
const RADII: f64 = 1e-12;

/// Checks one case.
pub(super) fn check_entry(case: &str, id: &str, entry: &Value, seed: u64) -> Result<Vec<Check>, String> {
    let input = &entry["input"];
    let names = ["real", "gen"];
    let sums = names.map(|name| &entry["sha256_f32"][name]);
    let [real, generated] = recipes::pair(input, names, sums, seed)?;
    let expected = &entry["expected"];
    let mut checks = Vec::new();
    for k in [3, 5] {
        let hits = hits(real.view(), generated.view(), k).map_err(|e| e.to_string())?;
        let found = hits.comparison();
        for (way, counts) in [("nonstrict", found.inclusive), ("strict", found.strict)] {
            let Counts { precise, recalled, inside, covered, .. } = counts;
            let column = format!("exact_k{k}_counts_{way}");
            for (key, count) in
                [("precision", precise), ("recall", recalled), ("density_sum", inside), ("coverage", covered)]
            {
                let quantity = format!("{id} {column} {key}");
                checks.push(match number(&expected[&column][key]) {
                    Some(expected) => compare(case, quantity, count as f64, expected, 0.0),
                    None => failed(case, &quantity, "no such number in the manifest".into()),
                });
            }
        }
        let mut hold = |column: String, key: &str, share: f64| {
            checks.push(relative(
                case,
                format!("{id} {column} {key}"),
                share,
                &expected[&column][key],
                SHARES,
            ));
        };
        let strict = found.strict;
        let column = format!("prdc_k{k}_f64");
        hold(column.clone(), "precision", found.precision(strict));
        hold(column.clone(), "recall", found.recall(strict));
        hold(column.clone(), "density", found.density(strict));
        hold(column, "coverage", found.coverage(strict));
        if k == 3 {
            hold("torch_fidelity_f64".into(), "precision", found.precision(found.inclusive));
            hold("torch_fidelity_f64".into(), "recall", found.recall(found.inclusive));
            for (side, radii) in [("real", &hits.real_radii), ("gen", &hits.generated_radii)] {
                let expected = &entry["k3_radii"];
                let sum = radii.iter().sum();
                let quantity = |part: &str| format!("{id} radii {side} {part}");
                checks.push(relative(case, quantity("sum"), sum, &expected[format!("{side}_sum")], RADII));
                let listed = &expected[format!("{side}_first")];
                for (i, radius) in radii.iter().take(3).enumerate() {
                    checks.push(relative(case, quantity(&i.to_string()), *radius, &listed[i], RADII));
                }
            }
        }
    }
    Ok(checks)
}
