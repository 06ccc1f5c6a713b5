//! Golden case `ops`: area and bicubic interpolation, and which φ a scale takes.

use serde_json::Value;

use super::{Case, FEATURES};
use crate::quantizer::{Quantizer, phi::phi_index};
use crate::runtime::error::Result;
use crate::runtime::weights::portable;

/// Checks interpolation and φ indices.
///
/// # Errors
/// When the manifest is not whole.
pub(crate) fn check(case: &mut Case) -> Result<()> {
    for (full, side) in pairs(&case.manifest, "area") {
        let x = portable::normal(&format!("ops.{full}"), 1, &[1, 3, full as i64, full as i64])
            .to_device(case.device);
        case.close(&format!("area.{full}.{side}"), &Quantizer::area(&x, side), FEATURES);
    }
    for (side, full) in pairs(&case.manifest, "bicubic") {
        let x = portable::normal(&format!("ops.{full}.{side}"), 1, &[1, 3, side as i64, side as i64])
            .to_device(case.device);
        case.close(&format!("bicubic.{side}.{full}"), &Quantizer::bicubic(&x, full), FEATURES);
    }
    let table = case.manifest.get("phi_index").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut wrong = 0.0;
    for (key, expected) in &table {
        let numbers: Vec<usize> =
            key.split(',').filter_map(|part| part.split('=').nth(1)?.parse().ok()).collect();
        let (Some(&phis), Some(&scales)) = (numbers.first(), numbers.get(1)) else { continue };
        let found: Vec<u64> = (0..scales).map(|k| phi_index(phis, scales, k) as u64).collect();
        let expected: Vec<u64> =
            expected.as_array().into_iter().flatten().filter_map(Value::as_u64).collect();
        if found != expected {
            wrong += 1.0;
        }
    }
    if !table.is_empty() {
        case.record("phi index", Some(wrong), 0.0, Some(format!("of {} tables differ", table.len())));
    }
    Ok(())
}

/// The pairs of whole numbers under `key`.
fn pairs(manifest: &Value, key: &str) -> Vec<(usize, usize)> {
    let list = manifest.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    list.iter()
        .filter_map(|pair| Some((pair.get(0)?.as_u64()? as usize, pair.get(1)?.as_u64()? as usize)))
        .collect()
}
