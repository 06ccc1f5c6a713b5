//! The portable initialiser: weights that any language computes to the same bits, for golden cases and
//! for benches at official shapes without official weights.

use rayon::prelude::*;
use sha2::{Digest, Sha256};
use tch::{Kind, Tensor};

use super::Parameters;
use crate::runtime::random::Stream;

/// Mean and standard deviation for a tensor of the released state dicts; `None` for all zeros.
fn rule(name: &str, shape: &[i64]) -> Option<(f64, f64)> {
    let leaf = name.rsplit('.').next().unwrap_or(name);
    match (name, leaf) {
        (_, "zero_k_bias" | "ema_vocab_hit_SV" | "running_mean") => None,
        (_, "running_var") => Some((1.0, 0.0)),
        (_, "scale_mul_1H11") => Some((1.386_294_361_119_890_6, 0.1)),
        ("quantize.embedding.weight", _) => Some((0.0, 1.0)),
        ("class_emb.weight", _) => Some((0.0, 0.5)),
        ("pos_start" | "pos_1LC" | "lvl_embed.weight", _) => Some((0.0, 0.2)),
        (_, "ada_gss") => Some((0.0, 0.5)),
        (_, "weight") if shape.len() == 1 => Some((1.0, 0.1)),
        _ if shape.len() == 1 => Some((0.0, 0.1)),
        _ => {
            let fan_in: i64 = shape.iter().skip(1).product();
            let gain = if name == "head.weight" { 2.0 } else { 1.0 };
            Some((0.0, gain / (fan_in as f64).sqrt()))
        }
    }
}

/// Values for the tensor `name` under `seed`, in C order, as `f32(mean + std · normal)`.
pub(crate) fn values(name: &str, seed: u64, shape: &[i64]) -> Vec<f32> {
    let count: i64 = shape.iter().product();
    match rule(name, shape) {
        None => vec![0.0; count as usize],
        Some((mean, std)) => {
            let stream = Stream::new(name, seed);
            (0..count as u64)
                .into_par_iter()
                .map(|i| (mean + std * stream.portable_normal(i)) as f32)
                .collect()
        }
    }
}

/// The tensor `name` of `shape` under `seed`, in `f32`.
pub fn tensor(name: &str, seed: u64, shape: &[i64]) -> Tensor {
    Tensor::from_slice(&values(name, seed, shape)).view(shape)
}

/// Fills every entry of `parameters` under `seed`, each from the stream of its own name.
pub fn fill(parameters: &mut Parameters, seed: u64) {
    tch::no_grad(|| {
        for p in parameters.entries() {
            let shape = p.tensor.size();
            let mut target = p.tensor.shallow_clone();
            target.copy_(&tensor(&p.name, seed, &shape));
        }
    });
}

/// First 16 hexadecimal digits of SHA-256 over a tensor's little-endian `f32` bytes.
pub(crate) fn digest(tensor: &Tensor) -> String {
    let flat = tensor.detach().to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]);
    let mut bytes = vec![0_u8; flat.numel() * 4];
    flat.copy_data_u8(&mut bytes, flat.numel());
    Sha256::digest(&bytes).iter().take(8).map(|b| format!("{b:02x}")).collect()
}

/// Uniform numbers in [0, 1) of the stream (name, seed) as an `f32` tensor of `shape`.
pub fn uniform(name: &str, seed: u64, shape: &[i64]) -> Tensor {
    let stream = Stream::new(name, seed);
    let count: i64 = shape.iter().product();
    let values: Vec<f32> = (0..count as u64).map(|i| stream.uniform(i)).collect();
    Tensor::from_slice(&values).view(shape)
}

/// Portable normal numbers of the stream (name, seed) as an `f32` tensor of `shape`.
pub fn normal(name: &str, seed: u64, shape: &[i64]) -> Tensor {
    let stream = Stream::new(name, seed);
    let count: i64 = shape.iter().product();
    let values: Vec<f32> = (0..count as u64).map(|i| stream.portable_normal(i) as f32).collect();
    Tensor::from_slice(&values).view(shape)
}

/// Integers below `limit` of the stream (name, seed) as an `i64` tensor of `shape`.
pub fn integers(name: &str, seed: u64, shape: &[i64], limit: u64) -> Tensor {
    let stream = Stream::new(name, seed);
    let count: i64 = shape.iter().product();
    let values: Vec<i64> = (0..count as u64).map(|i| stream.below(i, limit) as i64).collect();
    Tensor::from_slice(&values).view(shape)
}
