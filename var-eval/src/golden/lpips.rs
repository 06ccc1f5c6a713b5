//! Group `lpips`: distances of the `lpips` package, with portable trunks and its own or portable heads.

use std::path::Path;
use std::slice::from_ref;

use image::RgbImage;
use serde_json::Value;
use tch::{Device, Kind, Tensor};
use var_tokenizer::torch::guarded;

use super::portable::{self, Filling, Portable, array, convolution_factor, problem};
use super::{Check, failed, generator};
use crate::error::Result;
use crate::features::weights::TensorSource;
use crate::inputs::Picture;
use crate::metrics::lpips::{Lpips, Trunk, input};

/// The portable trunk called `net` under `seed`.
pub fn trunk(net: &str, seed: u64) -> Portable<impl Fn(&str, &[i64]) -> (String, Filling)> {
    let net = net.to_owned();
    Portable::new(seed, move |name, shape| {
        let factor = if shape.len() > 1 { convolution_factor(shape) } else { 0.1 };
        (format!("lpips/{net}/{}", name.replacen("features.", "features/", 1)), Filling::Normal(0.0, factor))
    })
}

/// The portable heads for `net` under `seed`.
pub fn heads(net: &str, seed: u64) -> Portable<impl Fn(&str, &[i64]) -> (String, Filling)> {
    let net = net.to_owned();
    Portable::new(seed, move |name, _| {
        let head = name.split('.').next().unwrap_or(name);
        (format!("lpips/{net}/{head}"), Filling::Uniform(0.0))
    })
}

/// The package's heads in the npz file of the group.
pub struct PackageHeads<'a> {
    /// The file.
    pub path: &'a Path,
    /// The network.
    pub net: &'a str,
}

impl TensorSource for PackageHeads<'_> {
    fn take(&mut self, name: &str, shape: &[i64]) -> Result<Tensor> {
        let values = array(self.path, &format!("{}/{name}", self.net))?;
        Ok(Tensor::f_from_slice(&values)?.f_view(shape)?)
    }
}

/// Checks every case of the group in `folder`.
pub fn check_group(folder: &Path, manifest: &Value) -> Vec<Check> {
    let case = folder.display().to_string();
    let (Some(seed), Some(entries)) = (manifest["seed"].as_u64(), manifest["cases"].as_array()) else {
        return vec![failed(&case, "manifest", "has no whole number 'seed' or no list 'cases'".into())];
    };
    // Cases of one network are adjacent, so it is built once.
    let mut made: Option<(String, Lpips)> = None;
    let mut checks = Vec::new();
    for entry in entries {
        let id = entry["id"].as_str().unwrap_or("?");
        let found = guarded(|| {
            let key = ["net", "trunk", "heads"].map(|k| entry["input"][k].as_str().unwrap_or("?")).join(" ");
            let lpips = match made.take() {
                Some((name, lpips)) if name == key => lpips,
                _ => network(folder, manifest, &entry["input"], seed)?,
            };
            let checks = check_entry(&case, &lpips, entry, seed)?;
            made = Some((key, lpips));
            Ok(checks)
        });
        checks.extend(found.unwrap_or_else(|e: crate::Error| vec![failed(&case, id, e.to_string())]));
    }
    checks
}

fn network(folder: &Path, manifest: &Value, input: &Value, seed: u64) -> Result<Lpips> {
    if input["trunk"] != "portable" {
        return Err(problem(format!("trunk {} is not available", input["trunk"])));
    }
    let net = input["net"].as_str().unwrap_or_default();
    let kind: Trunk = net.parse()?;
    let mut weights = trunk(net, seed);
    if input["heads"] == "portable" {
        return Lpips::new(kind, &mut weights, &mut heads(net, seed), Device::Cpu);
    }
    let path = folder.join(manifest["heads"]["file"].as_str().unwrap_or("missing"));
    Lpips::new(kind, &mut weights, &mut PackageHeads { path: &path, net }, Device::Cpu)
}

fn check_entry(case: &str, lpips: &Lpips, entry: &Value, seed: u64) -> Result<Vec<Check>> {
    let (a, b) = pictures(&entry["input"], seed)?;
    for (name, picture) in [("a", &a), ("b", &b)] {
        let found = portable::digest_of_pictures(from_ref(picture));
        let expected = &entry["sha256_u8"][name];
        if expected != found.as_str() {
            return Err(problem(format!("image {name}: SHA-256 {found}, expected {expected}")));
        }
    }
    let layers = lpips.per_layer(&input(from_ref(&a), Device::Cpu)?, &input(from_ref(&b), Device::Cpu)?)?;
    let layers = Vec::<f64>::try_from(&layers.f_to_kind(Kind::Double)?.f_view([-1])?)?;
    let distance = lpips.distances(&[a], &[b])?;
    let of_layer = |k: usize| &entry["expected"]["f64"]["per_layer"][k];
    let per_layer = layers.iter().enumerate().map(|(k, &found)| (format!("layer {k}"), found, of_layer(k)));
    let sum = distance.first().copied().unwrap_or(f64::NAN);
    let sum = ("distance".to_owned(), sum, &entry["expected"]["f64"]["distance"]);
    let limit = |key: &str| entry["tolerance"][key].as_f64().unwrap_or(0.0);
    let id = entry["id"].as_str().unwrap_or("?");
    Ok(std::iter::once(sum)
        .chain(per_layer)
        .map(|(name, found, expected)| {
            let quantity = format!("{id} {name}");
            let Some(expected) = expected.as_f64() else {
                return failed(case, &quantity, "no such number in the manifest".into());
            };
            let tolerance = limit("f32_abs") + limit("f32_rel") * expected.abs();
            super::compare(case, quantity, found, expected, tolerance)
        })
        .collect())
}

/// The two images of a recipe.
fn pictures(recipe: &Value, seed: u64) -> Result<(RgbImage, RgbImage)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let a = portable::picture(&text(&recipe["name_a"]), seed, recipe)?;
    let change = &recipe["b"];
    let b = match change["kind"].as_str() {
        Some("same") => a.clone(),
        Some("other") => portable::picture(&text(&change["name"]), seed, recipe)?,
        Some("jitter") => {
            let reach = change["k"].as_u64().and_then(|k| u8::try_from(k).ok());
            let reach = reach.ok_or_else(|| problem("recipe: 'k' is no whole number up to 255".into()))?;
            let plain = Picture::new(a.width() as usize, a.height() as usize, 3, a.as_raw().clone())?;
            let moved = generator::jitter(&plain, &text(&change["delta_name"]), seed, reach)?;
            portable::rgb(moved.shape(), moved.bytes())?
        }
        _ => return Err(problem(format!("unknown second image {change}"))),
    };
    Ok((a, b))
}
