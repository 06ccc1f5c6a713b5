//! Golden cases of resizing and cropping: bytes that Pillow and the published transform gave.
//!
//! A case folder holds a manifest with `group: preprocess` and arrays. The input images come from a recipe. This module
//! checks every resize of byte images, and the published crop. It skips float images and resizers of other tools, which
//! belong to the evaluation crate.

use std::path::Path;

use image::RgbImage;
use npyz::npz::NpzArchive;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::data::images::resize::{Filter, Window, resize_bytes};
use crate::data::images::{Framing, View, to_unit};
use crate::runtime::error::{Error, Result};
use crate::runtime::random::Stream;

/// One outcome: quantity, difference (bytes that differ), tolerance (0), whether it holds.
pub(crate) type Outcome = (String, f64, f64, bool);

/// Checks the byte-image cases of the folder `case`.
///
/// # Errors
/// When the manifest or an array is missing or damaged.
pub fn check_preprocess(case: &Path) -> Result<Vec<Outcome>> {
    let path = case.join("manifest.json");
    let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    let manifest: Value = serde_json::from_slice(&text).map_err(|e| Error::file(&path, e.to_string()))?;
    let seed = manifest.get("seed").and_then(Value::as_u64);
    let seed = seed.ok_or_else(|| Error::file(&path, "no whole number 'seed'"))?;
    let cases = manifest.get("cases").and_then(Value::as_array);
    let cases = cases.ok_or_else(|| Error::file(&path, "no list 'cases'"))?;
    let mut outcomes = Vec::new();
    for entry in cases {
        let entry = Entry { path: &path, value: entry };
        if !entry.text("/input/recipe").starts_with("image_u8") || entry.text("/input/pillow_mode") == "F" {
            continue;
        }
        if entry.value.pointer("/input/reso").is_some() {
            check_crop(case, &entry, seed, &mut outcomes)?;
        } else if entry.value.pointer("/tolerance/exact") == Some(&Value::Bool(true)) {
            check_resizes(case, &entry, seed, &mut outcomes)?;
        }
    }
    Ok(outcomes)
}

/// One case of the manifest.
struct Entry<'a> {
    path: &'a Path,
    value: &'a Value,
}

impl Entry<'_> {
    fn text(&self, pointer: &str) -> &str {
        self.value.pointer(pointer).and_then(Value::as_str).unwrap_or("")
    }

    fn number(&self, pointer: &str) -> Result<usize> {
        let number = self.value.pointer(pointer).and_then(Value::as_u64).filter(|&n| n <= 1 << 14);
        number.map(|n| n as usize).ok_or_else(|| {
            Error::file(self.path, format!("case '{}' has no number {pointer} up to 16384", self.text("/id")))
        })
    }

    /// Returns the input image of the case, and whether its digest agrees.
    fn input(&self, seed: u64, digest: &str) -> Result<(Vec<u8>, u32, u32, usize, Outcome)> {
        let (height, width) = (self.number("/input/h")?, self.number("/input/w")?);
        let channels = if self.value.pointer("/input/c").is_some() { self.number("/input/c")? } else { 3 };
        let mut bytes = image_u8(self.text("/input/name"), seed, height, width, channels);
        if self.text("/input/recipe").contains("255 where > 127") {
            bytes.iter_mut().for_each(|byte| *byte = if *byte > 127 { 255 } else { 0 });
        }
        let outcome = self.digest("input", &bytes, digest);
        Ok((bytes, width as u32, height as u32, channels, outcome))
    }

    fn digest(&self, quantity: &str, bytes: &[u8], pointer: &str) -> Outcome {
        let same = hex(&Sha256::digest(bytes)) == self.text(pointer);
        (format!("{} {quantity}", self.text("/id")), f64::from(u8::from(!same)), 0.0, same)
    }

    fn bytes(&self, quantity: &str, found: &[u8], expected: &[u8]) -> Outcome {
        let differing = if found.len() == expected.len() {
            found.iter().zip(expected).filter(|(a, b)| a != b).count()
        } else {
            found.len().max(expected.len())
        };
        (format!("{} {quantity}", self.text("/id")), differing as f64, 0.0, differing == 0)
    }
}

fn check_resizes(case: &Path, entry: &Entry, seed: u64, outcomes: &mut Vec<Outcome>) -> Result<()> {
    let (input, width, height, channels, outcome) = entry.input(seed, "/sha256_u8")?;
    outcomes.push(outcome);
    let path = case.join(entry.text("/expected/file"));
    let damaged = |e: std::io::Error| Error::file(&path, e.to_string());
    let mut archive = NpzArchive::open(&path).map_err(damaged)?;
    let mut names: Vec<String> = archive.array_names().map(str::to_owned).collect();
    names.sort();
    for name in names {
        let Some(npy) = archive.by_name(&name).map_err(damaged)? else { continue };
        let expected: Vec<u8> = npy.into_vec().map_err(damaged)?;
        let parts = name.split_once('_').and_then(|(filter, size)| Some((filter, size.split_once('x')?)));
        let parsed = parts.and_then(|(filter, (w, h))| {
            Some((filter.parse::<Filter>().ok()?, w.parse::<u32>().ok()?, h.parse::<u32>().ok()?))
        });
        let Some((filter, to_width, to_height)) = parsed else {
            return Err(Error::file(&path, format!("array '{name}' is not called FILTER_WxH")));
        };
        let window = Window { left: 0, top: 0, width: to_width, height: to_height };
        let (size, full) = ((width, height), (to_width, to_height));
        let found = match channels {
            1 => resize_bytes::<1>(&input, size, full, window, filter)?,
            3 => resize_bytes::<3>(&input, size, full, window, filter)?,
            other => return Err(Error::file(entry.path, format!("images of {other} channels"))),
        };
        outcomes.push(entry.bytes(&name, &found, &expected));
    }
    Ok(())
}

fn check_crop(case: &Path, entry: &Entry, seed: u64, outcomes: &mut Vec<Outcome>) -> Result<()> {
    let (input, width, height, _, outcome) = entry.input(seed, "/input_sha256_u8")?;
    outcomes.push(outcome);
    let framing = Framing::new(entry.number("/input/reso")?)?;
    let (resized, middle) = (framing.resized(width, height), framing.zoomed() as usize);
    let sizes = [
        middle == entry.number("/input/mid")?,
        resized.0 as usize == entry.number("/expected/resized_wh/0")?,
        resized.1 as usize == entry.number("/expected/resized_wh/1")?,
    ];
    let wrong = sizes.iter().filter(|same| !**same).count();
    outcomes.push((format!("{} resized size", entry.text("/id")), wrong as f64, 0.0, wrong == 0));
    let image = RgbImage::from_raw(width, height, input).ok_or_else(|| {
        Error::file(entry.path, format!("case '{}' is not an RGB image", entry.text("/id")))
    })?;
    let found = framing.frame(&image, View::CENTRE)?;
    let path = case.join(entry.text("/expected/file/file"));
    let stored = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    let npy = npyz::NpyFile::new(&stored[..]).map_err(|e| Error::file(&path, e.to_string()))?;
    let expected: Vec<u8> = npy.into_vec().map_err(|e| Error::file(&path, e.to_string()))?;
    outcomes.push(entry.bytes("pixels", found.as_raw(), &expected));
    let unit: Vec<u8> = to_unit(&found).into_iter().flat_map(f32::to_le_bytes).collect();
    outcomes.push(entry.digest("f32 in [-1, 1]", &unit, "/expected/sha256_f32_chw_pm1"));
    Ok(())
}

/// Makes the image `[height, width, channels]` of the recipe: a triangle wave, 8 × 8 blocks and noise, with
/// coefficients that are exact in `f64`.
fn image_u8(name: &str, seed: u64, height: usize, width: usize, channels: usize) -> Vec<u8> {
    let coarse = Stream::new(&format!("{name}/coarse"), seed);
    let fine = Stream::new(&format!("{name}/fine"), seed);
    let blocks = width.div_ceil(8);
    let mut bytes = Vec::with_capacity(height * width * channels);
    for i in 0..height {
        for j in 0..width {
            for k in 0..channels {
                let phase = ((3 + k) * i + (5 + 2 * k) * j + 11 * k) % 64;
                let wave = 1.0 - (phase as f64 / 32.0 - 1.0).abs();
                let block = coarse.uniform((((i / 8) * blocks + j / 8) * channels + k) as u64);
                let noise = fine.uniform(((i * width + j) * channels + k) as u64);
                let value = 0.4375 * wave + 0.375 * f64::from(block) + 0.1875 * f64::from(noise);
                bytes.push((255.0 * value + 0.5).floor() as u8);
            }
        }
    }
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
