//! Golden group `is`: Inception Scores of torch-fidelity and of ADM's evaluator.

use serde_json::Value;

use super::{Check, number, recipes, relative};
use crate::metrics::inception_score::{InceptionScore, Order, SPLITS, adm, inception_score};

/// Checks one case.
pub(super) fn check_entry(case: &str, id: &str, entry: &Value, seed: u64) -> Result<Vec<Check>, String> {
    let logits = recipes::logits(&entry["input"], seed)?;
    recipes::same_bytes(&logits, &entry["sha256_f32"])?;
    let text = |e: crate::Error| e.to_string();
    let tolerance = |key: &str| number(&entry["tolerance"][key]).ok_or(format!("no tolerance {key}"));
    let (exact, rounded) = (tolerance("f64_rel")?, tolerance("f32_rel")?);
    let expected = &entry["expected"];
    let mut checks = Vec::new();
    let mut hold = |key: String, found: f64, expected: &Value, tolerance: f64| {
        checks.push(relative(case, format!("{id} {key}"), found, expected, tolerance));
    };
    let score = |order: &Order| inception_score(logits.view(), SPLITS, order).map_err(text);
    let name = entry["input"]["generator_permutation"].as_str().ok_or("no generator_permutation")?;
    let permutation = Order::Rows(recipes::permutation(name, seed, logits.nrows()));
    let orders = [
        ("torch_fidelity_noshuffle", &Order::Given),
        ("torch_fidelity_shuffle_seed2020", &Order::Shuffled),
        ("torch_fidelity_generator_permutation", &permutation),
    ];
    for (key, order) in orders {
        let InceptionScore { mean, deviation, splits } = score(order)?;
        hold(format!("{key} mean"), mean, &expected[key][0], exact);
        // A deviation is a difference of means, so their rounding limits it.
        let allowed =
            number(&expected[key][1]).map_or(exact, |d| exact * (mean / d.abs().max(1e-12)).max(1.0));
        hold(format!("{key} std"), deviation, &expected[key][1], allowed);
        if *order == Order::Given {
            for (i, split) in splits.iter().enumerate() {
                hold(format!("{key} split {i}"), *split, &expected[format!("{key}_per_split")][i], exact);
            }
        }
    }
    let one = inception_score(logits.view(), 1, &Order::Given).map_err(text)?;
    hold("one_split".into(), one.mean, &expected["one_split"], exact);
    let blocks = adm(logits.view()).map_err(text)?;
    for (precision, tolerance) in [("f64", exact), ("f32", rounded)] {
        let key = format!("adm_{precision}_mean");
        // In f32, the tool gives NaN for probabilities that round to 0; the true score is the f64 one.
        if expected[&key] == "nan" {
            continue;
        }
        hold(key.clone(), blocks.mean, &expected[&key], tolerance);
        for (i, block) in blocks.splits.iter().enumerate() {
            let key = format!("adm_{precision}_per_block");
            hold(format!("{key} {i}"), *block, &expected[&key][i], tolerance);
        }
    }
    Ok(checks)
}
