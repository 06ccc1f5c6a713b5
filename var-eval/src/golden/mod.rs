//! Golden cases: figures of published tools that ours must give.
//!
//! A folder holds a `manifest.json`; those with `"group"` `psnr_ssim` or `prc` are checked here, others give
//! nothing. The cases of `psnr_ssim` name a recipe for two pictures, the SHA-256 of their bytes (a wrong input then shows
//! before a wrong measure), and the answers of piq and scikit-image. Left out on purpose:
//! `skimage_ssim_default_uniform7`, another measure than the one reported by this crate.

mod generator;
mod prc;
#[allow(dead_code, reason = "some recipes wait for the groups that use them")]
mod recipes;

use std::path::Path;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::inputs::Picture;
use crate::metrics::ssim::{Downsampling, ssim};
use crate::metrics::{DATA_RANGE, psnr};

/// Longest side that a recipe may ask for; a damaged manifest must not exhaust the memory.
const LONGEST_SIDE: u64 = 4096;
/// What piq adds to the mean square on the scale 0..1.
const PIQ_FLOOR: f64 = 1e-8;

/// Outcome for one quantity of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The folder, as given.
    pub case: String,
    /// What was compared: the id within the manifest, and the quantity.
    pub quantity: String,
    /// The difference found; `None` when the quantity could not be computed or compared.
    pub difference: Option<f64>,
    /// Largest difference allowed.
    pub tolerance: f64,
    /// Whether it holds.
    pub pass: bool,
    /// What went wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Checks the folder `folder`; empty for groups that are not ours. What cannot be read is a failed check.
pub fn check(folder: &Path) -> Vec<Check> {
    let case = folder.display().to_string();
    match manifest(folder) {
        Ok(manifest) if manifest["group"] == "psnr_ssim" => check_group(&case, &manifest, check_entry),
        Ok(manifest) if manifest["group"] == "prc" => {
            check_group(&case, &manifest, |case, entry, seed| prc::check_entry(case, folder, entry, seed))
        }
        Ok(_) => Vec::new(),
        Err(e) => vec![failed(&case, "manifest", e.to_string())],
    }
}

fn manifest(folder: &Path) -> Result<Value> {
    let path = folder.join("manifest.json");
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    serde_json::from_str(&text).map_err(|e| Error::file(&path, format!("is not JSON: {e}")))
}

fn check_group(case: &str, manifest: &Value, check: impl Fn(&str, &Value, u64) -> Vec<Check>) -> Vec<Check> {
    let (Some(seed), Some(entries)) = (manifest["seed"].as_u64(), manifest["cases"].as_array()) else {
        return vec![failed(case, "manifest", "has no whole number 'seed' or no list 'cases'".into())];
    };
    if entries.is_empty() {
        return vec![failed(case, "manifest", "has no case".into())];
    }
    entries.iter().flat_map(|entry| check(case, entry, seed)).collect()
}

fn check_entry(case: &str, entry: &Value, seed: u64) -> Vec<Check> {
    let id = entry["id"].as_str().unwrap_or("?");
    let pictures = pictures(&entry["input"], seed);
    let measured = pictures.and_then(|(a, b)| {
        for (name, picture) in [("a", &a), ("b", &b)] {
            let expected = entry["sha256_u8"][name].as_str().unwrap_or("missing");
            let found: String = Sha256::digest(picture.bytes()).iter().map(|b| format!("{b:02x}")).collect();
            if found != expected {
                return Err(format!("picture {name}: SHA-256 {found}, expected {expected}"));
            }
        }
        quantities(&a, &b).map_err(|e| e.to_string())
    });
    let measured = match measured {
        Ok(measured) => measured,
        Err(note) => return vec![failed(case, id, note)],
    };
    measured
        .into_iter()
        .map(|(key, found, tolerance)| {
            let quantity = format!("{id} {key}");
            let (expected, tolerance) = (&entry["expected"][key], &entry["tolerance"][tolerance]);
            let (Some(expected), Some(tolerance)) = (number(expected), tolerance.as_f64()) else {
                return failed(case, &quantity, "no such number, or no tolerance, in the manifest".into());
            };
            compare(case, quantity, found, expected, tolerance)
        })
        .collect()
}

/// What is compared: the key in `expected`, our figure, and the key in `tolerance`. Where a tool computed
/// in `f32` it is its rounding that the wider tolerance allows for.
fn quantities(a: &Picture, b: &Picture) -> Result<Vec<(&'static str, f64, &'static str)>> {
    let mean_square = psnr::mean_square(a, b)?;
    let exact = psnr::psnr(a, b)?;
    let floored = psnr::decibels(mean_square + PIQ_FLOOR * DATA_RANGE * DATA_RANGE);
    let full = ssim(a, b, Downsampling::None)?;
    let blocks = ssim(a, b, Downsampling::Blocks)?;
    Ok(vec![
        ("mse_bytes_exact", mean_square, "f64_abs"),
        ("skimage_psnr", exact, "f64_abs"),
        ("piq_psnr_f64", floored, "f64_abs"),
        ("piq_psnr_f32", floored, "psnr_f32_abs"),
        ("skimage_ssim_gaussian_wang", full, "f64_abs"),
        ("skimage_ssim_gaussian_u8_range255", full, "f64_abs"),
        ("piq_ssim_f64_no_downsample", full, "f64_abs"),
        ("piq_ssim_f32_no_downsample", full, "f32_abs"),
        ("piq_ssim_f64_default", blocks, "f64_abs"),
        ("piq_ssim_f32_default", blocks, "f32_abs"),
    ])
}

/// The two pictures of a recipe.
fn pictures(input: &Value, seed: u64) -> std::result::Result<(Picture, Picture), String> {
    let whole = |value: &Value, limit: u64| value.as_u64().filter(|&n| n <= limit);
    let side = |key: &str, limit: u64| {
        let found = whole(&input[key], limit).and_then(|n| usize::try_from(n).ok());
        found.ok_or(format!("recipe: '{key}' is no whole number up to {limit}"))
    };
    let text = |value: &Value, key: &str| {
        value[key].as_str().map(str::to_owned).ok_or(format!("recipe: no text '{key}'"))
    };
    if input["recipe"] != "image_u8" {
        return Err(format!("unknown recipe {}", input["recipe"]));
    }
    let (height, width, channels) = (side("h", LONGEST_SIDE)?, side("w", LONGEST_SIDE)?, side("c", 4)?);
    let make = |name: &str| {
        generator::picture(name, seed, width, height, channels).map_err(|e| format!("recipe: {e}"))
    };
    let a = make(&text(input, "name_a")?)?;
    let change = &input["b"];
    let b = match change["kind"].as_str() {
        Some("same") => a.clone(),
        Some("other") => make(&text(change, "name")?)?,
        Some("box3") => generator::box3(&a).map_err(|e| e.to_string())?,
        Some("jitter") => {
            let reach = whole(&change["k"], 255).and_then(|k| u8::try_from(k).ok());
            let reach = reach.ok_or("recipe: 'k' is no whole number up to 255")?;
            generator::jitter(&a, &text(change, "delta_name")?, seed, reach).map_err(|e| e.to_string())?
        }
        _ => return Err(format!("unknown second picture {change}")),
    };
    Ok((a, b))
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
    // Infinity minus itself is no number, but the two agree.
    let difference = if found == expected { 0.0 } else { (found - expected).abs() };
    let note = (!difference.is_finite()).then(|| format!("found {found}, expected {expected}"));
    let difference = difference.is_finite().then_some(difference);
    let pass = difference.is_some_and(|d| d <= tolerance);
    Check { case: case.to_owned(), quantity, difference, tolerance, pass, note }
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
