//! Values that cannot be computed with.

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};
use var_tokenizer::weights::{Checkpoint, Role, safetensors};
use var_tokenizer::{Result, TokenizerConfig, VqVae, torch};

use super::golden;

/// Loads the golden tokenizer in `kind`, with the value `value` at the beginning of the tensor `name`, stored as
/// `stored`.
fn load(name: &str, value: f64, stored: Kind, kind: Kind) -> Result<VqVae> {
    torch::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("vae.safetensors");
    let mut tensors =
        Checkpoint::open(&golden("vae.pth")).unwrap().part(Role::Tokenizer).unwrap().read_all().unwrap();
    let tensor = tensors[name].to_kind(stored).contiguous();
    let _ = tensor.view([-1]).get(0).fill_(value);
    tensors.insert(name.into(), tensor);
    safetensors::write(&path, &tensors, &BTreeMap::new()).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    let dict = checkpoint.part(Role::Tokenizer).unwrap();
    let config = TokenizerConfig::of(dict, Some(&"1,2,4".parse().unwrap())).unwrap();
    VqVae::for_inference(dict, &config, Device::Cpu, kind)
}

#[test]
fn a_nan_in_the_weights_is_refused_by_name() {
    for (name, value, words) in [
        ("quantize.embedding.weight", f64::NAN, "1 of 512 values are NaN"),
        ("decoder.conv_out.bias", f64::INFINITY, "1 of 3 values are infinite"),
    ] {
        for kind in [Kind::Float, Kind::BFloat16] {
            let error = load(name, value, Kind::Float, kind).unwrap_err();
            let message = error.to_string();
            for part in ["vae.safetensors", name, words, "take another checkpoint"] {
                assert!(message.contains(part), "'{part}' is not in {message}");
            }
            assert_eq!(error.exit_code(), 2);
        }
    }
}

#[test]
fn a_value_that_the_type_cannot_hold_is_refused_by_name() {
    let message = load("decoder.conv_out.bias", 1e300, Kind::Double, Kind::Float).unwrap_err().to_string();
    for part in ["decoder.conv_out.bias", "1 of 3 values are infinite as f32", "finite in the file (f64)"] {
        assert!(message.contains(part), "'{part}' is not in {message}");
    }
    let message = load("decoder.conv_out.weight", 1e6, Kind::Float, Kind::Half).unwrap_err().to_string();
    assert!(message.contains("infinite as f16") && message.contains("wider type"), "{message}");
}

#[test]
fn counters_without_influence_may_hold_anything() {
    load("quantize.ema_vocab_hit_SV", f64::NAN, Kind::Float, Kind::Float).unwrap();
}

#[test]
fn tensors_for_a_resume_are_checked_too() {
    torch::start();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("optimizer.safetensors");
    let values = Tensor::from_slice(&[1.0_f32, f32::NAN]);
    safetensors::write(&path, &BTreeMap::from([("first.w".into(), values)]), &BTreeMap::new()).unwrap();
    let message = safetensors::open(Path::new(&path)).unwrap().read_finite().unwrap_err().to_string();
    assert!(message.contains("optimizer.safetensors: tensor first.w: 1 of 2 values are NaN"), "{message}");
}
