//! Golden group `fdinf`: Fréchet distances extrapolated to infinitely many samples.

use serde_json::Value;

use super::{Check, compare, number, recipes, relative};
use crate::metrics::fd_infinity::{extrapolate, sizes};
use crate::metrics::frechet;
use crate::statistics::Gaussian;

/// Checks one case.
pub(super) fn check_entry(case: &str, id: &str, entry: &Value, seed: u64) -> Result<Vec<Check>, String> {
    let text = |e: crate::Error| e.to_string();
    let input = &entry["input"];
    let names = ["ref", "gen"];
    let [reference, samples] =
        recipes::pair(input, names, names.map(|name| &entry["sha256_f32"][name]), seed)?;
    let reference = Gaussian::of(reference.view()).map_err(text)?;
    let whole = |key: &str| input[key].as_u64().ok_or_else(|| format!("no whole number '{key}'"));
    let found =
        sizes(whole("min_size")? as usize, samples.nrows(), whole("points")? as usize).map_err(text)?;
    let expected: Option<Vec<u64>> =
        input["sizes"].as_array().and_then(|sizes| sizes.iter().map(Value::as_u64).collect());
    let differ =
        expected.is_none_or(|sizes| !sizes.iter().map(|&size| size as usize).eq(found.iter().copied()));
    let mut checks = vec![compare(case, format!("{id} sizes"), f64::from(u8::from(differ)), 0.0, 0.0)];
    let order = |k: usize| recipes::permutation(&format!("fdinf/{id}/perm{k}"), seed, samples.nrows());
    let line = extrapolate(&reference, samples.view(), &found, order).map_err(text)?;
    let all =
        Gaussian::of(samples.view()).and_then(|all| frechet::distance(&reference, &all)).map_err(text)?;
    let tolerance = number(&entry["tolerance"]["rel"]).ok_or("no tolerance in the manifest")?;
    let expected = &entry["expected"];
    for (k, distance) in line.distances.iter().enumerate() {
        checks.push(relative(case, format!("{id} fd {k}"), *distance, &expected["fd"][k], tolerance));
    }
    for (key, found) in [("slope", line.slope), ("fd_infinity", line.distance), ("fd_all", all.distance)] {
        checks.push(relative(case, format!("{id} {key}"), found, &expected[key], tolerance));
    }
    Ok(checks)
}
