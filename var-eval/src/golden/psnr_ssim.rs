//! Golden group `psnr_ssim`: figures of piq and scikit-image.
//!
//! Cases name a recipe for two images, and the SHA-256 of their bytes. Left out on purpose:
//! `skimage_ssim_default_uniform7`, another measure than the one reported by this crate.

use serde_json::Value;
use var_tokenizer::files::sha256;

use super::{Check, LONGEST_SIDE, compare, failed, generator, number};
use crate::inputs::Picture;
use crate::metrics::ssim::{Downsampling, ssim};
use crate::metrics::{DATA_RANGE, psnr};

/// Added by piq to the mean square on the scale 0..1.
const PIQ_FLOOR: f64 = 1e-8;
/// Tolerance for piq's SSIM in `f32`: it subtracts squares of about 1, and in an image of one window the errors do not
/// average out (the largest seen is 4.4e-6). The comparison in `f64` is the strict one.
const PIQ_SSIM_F32: f64 = 1e-5;

/// Checks one case.
pub(super) fn check_entry(case: &str, id: &str, entry: &Value, seed: u64) -> Result<Vec<Check>, String> {
    let (a, b) = pictures(&entry["input"], seed)?;
    for (name, picture) in [("a", &a), ("b", &b)] {
        let expected = entry["sha256_u8"][name].as_str().unwrap_or("missing");
        let found = sha256(picture.bytes());
        if found != expected {
            return Err(format!("image {name}: SHA-256 {found}, expected {expected}"));
        }
    }
    let measured = quantities(&a, &b).map_err(|e| e.to_string())?;
    let checks = measured
        .into_iter()
        .map(|(key, found, tolerance)| {
            let quantity = format!("{id} {key}");
            let (expected, stated) = (&entry["expected"][key], &entry["tolerance"][tolerance]);
            let (Some(expected), Some(stated)) = (number(expected), stated.as_f64()) else {
                return failed(case, &quantity, "no such number, or no tolerance, in the manifest".into());
            };
            let tolerance = if tolerance == "f32_abs" { stated.max(PIQ_SSIM_F32) } else { stated };
            compare(case, quantity, found, expected, tolerance)
        })
        .collect();
    Ok(checks)
}

/// The quantities to compare: the key in `expected`, our figure, and the key in `tolerance`. The wider tolerances allow for
/// the rounding of tools that compute in `f32`.
fn quantities(a: &Picture, b: &Picture) -> crate::Result<Vec<(&'static str, f64, &'static str)>> {
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

/// The two images of a recipe.
fn pictures(input: &Value, seed: u64) -> Result<(Picture, Picture), String> {
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
        _ => return Err(format!("unknown second image {change}")),
    };
    Ok((a, b))
}
