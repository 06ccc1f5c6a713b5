//! Group `inception`: the FID network's activations, as pytorch-fid and torch-fidelity compute them.
//!
//! The weights are portable, not those of ImageNet. The cases hold structure, arithmetic and the three ways of preprocessing.

use std::path::Path;

use serde_json::Value;
use tch::{Device, Kind, Tensor};
use var_tokenizer::torch::guarded;

use super::portable::{self, Filling, Portable, array, problem};
use super::{Check, failed};
use crate::error::Result;
use crate::features::inception::{FEATURES, Layers};
use crate::features::preprocess::InceptionInput;

/// Step between compared rows and columns of the network's input.
const SAMPLED: usize = 23;

/// The portable weights under `seed`, by the names of the released state dict.
pub fn weights(seed: u64) -> Portable<impl Fn(&str, &[i64]) -> (String, Filling)> {
    Portable::new(seed, |name, shape| {
        let filling = if name.ends_with("running_var") {
            Filling::Uniform(0.5)
        } else if name.ends_with("conv.weight") {
            Filling::Normal(0.0, portable::convolution_factor(shape))
        } else if name == "fc.weight" {
            Filling::Normal(0.0, 1.0 / (FEATURES as f64).sqrt())
        } else if name.ends_with("bn.weight") {
            Filling::Normal(1.0, 0.1)
        } else {
            Filling::Normal(0.0, 0.1)
        };
        (format!("inception/{name}"), filling)
    })
}

/// Checks every case of the group in `folder`.
pub fn check_group(folder: &Path, manifest: &Value) -> Vec<Check> {
    let case = folder.display().to_string();
    let (Some(seed), Some(entries)) = (manifest["seed"].as_u64(), manifest["cases"].as_array()) else {
        return vec![failed(&case, "manifest", "has no whole number 'seed' or no list 'cases'".into())];
    };
    let mut source = weights(seed);
    if let Some(note) = wrong_weights(manifest, &source) {
        return vec![failed(&case, "weights", note)];
    }
    let layers = match guarded(|| Layers::new(&mut source, Device::Cpu)) {
        Ok(layers) => layers,
        Err(e) => return vec![failed(&case, "weights", e.to_string())],
    };
    let check = |entry: &Value| {
        let id = entry["id"].as_str().unwrap_or("?");
        guarded(|| check_entry(folder, &layers, entry, seed))
            .unwrap_or_else(|e| vec![failed(&case, id, e.to_string())])
    };
    entries.iter().flat_map(check).collect()
}

/// The first tensor whose SHA-256 is not that of the manifest, as a message.
fn wrong_weights<F: Fn(&str, &[i64]) -> (String, Filling)>(
    manifest: &Value,
    source: &Portable<F>,
) -> Option<String> {
    let known = manifest["weight_check"].as_object()?;
    known.iter().find_map(|(name, expected)| {
        let shape: &[i64] = match name.as_str() {
            "Conv2d_1a_3x3.conv.weight" => &[32, 3, 3, 3],
            "Mixed_6d.branch1x1.conv.weight" => &[192, 768, 1, 1],
            "fc.weight" => &[1008, 2048],
            "fc.bias" => &[1008],
            _ => &[32],
        };
        let found = portable::digest(&source.values(name, shape));
        (expected["sha256_f32"] != found.as_str()).then(|| format!("{name}: SHA-256 {found}"))
    })
}

fn check_entry(folder: &Path, layers: &Layers, entry: &Value, seed: u64) -> Result<Vec<Check>> {
    let input = &entry["input"];
    let names = input["names"].as_array().ok_or_else(|| problem("recipe: no list 'names'".into()))?;
    let names = names.iter().map(|name| name.as_str().unwrap_or_default());
    let pictures = names.map(|name| portable::picture(name, seed, input)).collect::<Result<Vec<_>>>()?;
    let (found, expected) = (portable::digest_of_pictures(&pictures), &entry["sha256_u8"]);
    if expected != found.as_str() {
        return Err(problem(format!("images: SHA-256 {found}, expected {expected}")));
    }
    let convention = input["convention"].as_str().unwrap_or_default().replace('_', "-");
    let prepared = convention.parse::<InceptionInput>()?.prepare(&pictures, Device::Cpu)?;
    let outputs = layers.forward(&prepared)?;
    let every = |x: &Tensor, dimension| x.f_slice(dimension, None, None, SAMPLED as i64);
    let sampled = every(&every(&prepared, 2)?, 3)?;
    let logits = layers.biased(&outputs.unbiased_logits)?;

    let path = folder.join(entry["expected"]["file"].as_str().unwrap_or("missing"));
    let tolerance = entry["tolerance"]["pool3_rel_to_absmax"].as_f64().unwrap_or(0.0);
    let (case, id) = (folder.display().to_string(), entry["id"].as_str().unwrap_or("?"));
    let quantities = [
        ("net_input_every23", &sampled),
        ("pool3", &outputs.features),
        ("logits_unbiased", &outputs.unbiased_logits),
        ("logits", &logits),
        ("spatial_mixed6_conv_nhwc7", &outputs.spatial),
    ];
    quantities
        .into_iter()
        .map(|(name, tensor)| {
            let quantity = format!("{id} {name}");
            let flat = tensor.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?;
            let (found, expected) = (Vec::<f32>::try_from(&flat)?, array(&path, name)?);
            Ok(match relative_difference(&found, &expected) {
                Some(difference) => Check {
                    case: case.clone(),
                    quantity,
                    difference: Some(difference),
                    tolerance,
                    pass: difference <= tolerance,
                    note: None,
                },
                None => {
                    failed(&case, &quantity, format!("{} values, expected {}", found.len(), expected.len()))
                }
            })
        })
        .collect()
}

/// Largest difference, relative to the largest expected value; `None` if they cannot be compared.
fn relative_difference(found: &[f32], expected: &[f32]) -> Option<f64> {
    let largest = expected.iter().fold(0.0, |most, value| value.abs().max(most));
    let mut differences = found.iter().zip(expected).map(|(a, b)| f64::from((a - b).abs()));
    let most = differences.try_fold(0.0, |most: f64, d| d.is_finite().then_some(most.max(d)))?;
    (found.len() == expected.len() && largest > 0.0).then_some(most / f64::from(largest))
}
