//! Golden group `frechet`: distances of pytorch-fid, torch-fidelity and ADM, and the true values.

use serde_json::Value;

use super::{Check, compare, failed, number, recipes};
use crate::metrics::frechet;
use crate::statistics::Gaussian;

/// The published tools in `f64`, relative to the sum of both traces (the page of the golden cases).
const TOOLS: f64 = 2e-8;
/// Tools that average in `f32`, relative to the sum of both traces; see also [`mean_rounding`].
const ROUNDED: f64 = 1e-4;
/// Moments of the features, relative.
const MOMENTS: f64 = 1e-12;

/// Maximum effect of rounding the means to `f32`: a unit in the last place of each, times twice their distance. It matters for
/// features far from 0.
fn mean_rounding(a: &Gaussian, b: &Gaussian) -> f64 {
    let length = |x: &ndarray::Array1<f64>| x.dot(x).sqrt();
    let (size, apart) = (length(&a.mean) + length(&b.mean), length(&(&a.mean - &b.mean)));
    2.0 * apart * size * f64::from(f32::EPSILON)
}

/// Checks one case.
pub(super) fn check_entry(case: &str, id: &str, entry: &Value, seed: u64) -> Result<Vec<Check>, String> {
    let sums = ["a", "b"].map(|side| &entry["stats"][side]["sha256_f32"]);
    let [x, y] = recipes::pair(&entry["input"], ["a", "b"], sums, seed)?;
    let text = |e: crate::Error| e.to_string();
    let (a, b) = (Gaussian::of(x.view()).map_err(text)?, Gaussian::of(y.view()).map_err(text)?);
    let distances = [
        ("", frechet::distance(&a, &b)),
        (" exchanged", frechet::distance(&b, &a)),
        (" of features", frechet::distance_of_samples(x.view(), y.view())),
    ];
    let (Some(best), Some(trace_sum), Some(allowed)) =
        (number(&entry["expected"]["best"]), number(&entry["trace_sum"]), number(&entry["tolerance"]["abs"]))
    else {
        return Err("no best value, trace_sum or tolerance in the manifest".into());
    };
    let mut checks = Vec::new();
    for (way, distance) in distances {
        let quantity = format!("{id} best{way}");
        match distance {
            Ok(found) => checks.push(compare(case, quantity, found.distance, best, allowed)),
            Err(e) => checks.push(failed(case, &quantity, e.to_string())),
        }
    }
    let found = frechet::distance(&a, &b).map_err(text)?;
    let rounded = ROUNDED * trace_sum + mean_rounding(&a, &b);
    let columns = [
        ("pytorch_fid", TOOLS * trace_sum),
        ("torch_fidelity_f64", TOOLS * trace_sum),
        ("eig_trunc_svd_f64", TOOLS * trace_sum),
        ("adm", rounded),
        ("torch_fidelity_f32", rounded),
    ];
    for (column, tolerance) in columns {
        let quantity = format!("{id} {column}");
        checks.push(match number(&entry["expected"][column]) {
            Some(expected) => compare(case, quantity, found.distance, expected, tolerance),
            None => failed(case, &quantity, "no such number in the manifest".into()),
        });
    }
    for (name, gaussian) in [("a", &a), ("b", &b)] {
        let moments = [
            ("mean_norm", gaussian.mean.dot(&gaussian.mean).sqrt()),
            ("cov_trace", gaussian.covariance.diag().sum()),
            ("cov_fro", gaussian.covariance.iter().map(|x| x * x).sum::<f64>().sqrt()),
        ];
        for (key, found) in moments {
            let quantity = format!("{id} {name} {key}");
            checks.push(match number(&entry["stats"][name][key]) {
                Some(expected) => compare(case, quantity, found, expected, MOMENTS * expected.abs()),
                None => failed(case, &quantity, "no such number in the manifest".into()),
            });
        }
    }
    Ok(checks)
}
