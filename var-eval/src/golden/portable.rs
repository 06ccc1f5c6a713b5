//! Weights of the golden cases, made from the names of the tensors; arrays and images next to them.

use std::path::Path;

use image::RgbImage;
use npyz::npz::NpzArchive;
use rayon::prelude::*;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tch::Tensor;
use var_tokenizer::files::{hexadecimal, sha256};
use var_tokenizer::random::Stream;

use crate::error::{Error, Result};
use crate::features::weights::TensorSource;

/// What a tensor is filled with: a mean and a factor before normal numbers, or a shift before uniform ones.
#[derive(Debug, Clone, Copy)]
pub enum Filling {
    /// f32(mean + factor · normal), f64 inside.
    Normal(f64, f64),
    /// f32(shift + uniform).
    Uniform(f64),
}

/// Tensors of a network under a seed.
pub struct Portable<F> {
    seed: u64,
    rule: F,
}

impl<F: Fn(&str, &[i64]) -> (String, Filling)> Portable<F> {
    /// `rule` says for a name and a shape which stream is taken, and how.
    pub fn new(seed: u64, rule: F) -> Self {
        Self { seed, rule }
    }

    /// The values of one tensor in C order.
    pub fn values(&self, name: &str, shape: &[i64]) -> Vec<f32> {
        let (stream, filling) = (self.rule)(name, shape);
        let stream = Stream::new(&stream, self.seed);
        let count = shape.iter().product::<i64>() as u64;
        let value = |i: u64| match filling {
            Filling::Normal(mean, factor) => (mean + factor * stream.portable_normal(i)) as f32,
            Filling::Uniform(shift) => (shift + f64::from(stream.uniform(i))) as f32,
        };
        (0..count).into_par_iter().map(value).collect()
    }
}

impl<F: Fn(&str, &[i64]) -> (String, Filling)> TensorSource for Portable<F> {
    fn take(&mut self, name: &str, shape: &[i64]) -> Result<Tensor> {
        Ok(Tensor::f_from_slice(&self.values(name, shape))?.f_view(shape)?)
    }
}

/// The factor of a convolution's normal numbers: √(2 / inputs of an output).
pub fn convolution_factor(shape: &[i64]) -> f64 {
    (2.0 / shape.iter().skip(1).product::<i64>().max(1) as f64).sqrt()
}

/// SHA-256 of `values` as little-endian bytes.
pub fn digest(values: &[f32]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    sha256(&bytes)
}

/// SHA-256 of the bytes of images, one after another.
pub fn digest_of_pictures(pictures: &[RgbImage]) -> String {
    let mut sum = Sha256::new();
    pictures.iter().for_each(|picture| sum.update(picture.as_raw()));
    hexadecimal(&sum.finalize())
}

/// The `f32` array `name` of an npz file.
///
/// # Errors
/// When it cannot be read, or there is no such array.
pub fn array(path: &Path, name: &str) -> Result<Vec<f32>> {
    let damaged = |e: std::io::Error| Error::file(path, format!("{name}: {e}"));
    let mut archive = NpzArchive::open(path).map_err(|e| Error::io(path, e))?;
    let array = archive.by_name(name).map_err(damaged)?;
    let array = array.ok_or_else(|| Error::file(path, format!("has no array {name}")))?;
    array.into_vec::<f32>().map_err(damaged)
}

/// An image of the generator as the networks take it.
///
/// # Errors
/// When its sides are out of range.
pub fn picture(name: &str, seed: u64, input: &Value) -> Result<RgbImage> {
    let side = |key: &str| {
        let found = input[key].as_u64().filter(|side| (1..=super::LONGEST_SIDE).contains(side));
        found.ok_or_else(|| {
            problem(format!("recipe: '{key}' is no whole number up to {}", super::LONGEST_SIDE))
        })
    };
    let (width, height) = (side("w")?, side("h")?);
    let made = super::generator::picture(name, seed, width as usize, height as usize, 3)?;
    rgb(made.shape(), made.bytes())
}

/// Bytes in the order row, column, channel as an image.
///
/// # Errors
/// When there are not three channels.
pub fn rgb((width, height, _): (usize, usize, usize), bytes: &[u8]) -> Result<RgbImage> {
    RgbImage::from_raw(width as u32, height as u32, bytes.to_vec())
        .ok_or_else(|| problem("recipe: an image without three channels".into()))
}

/// An error about the manifest.
pub fn problem(message: String) -> Error {
    var_tokenizer::Error::Config(message).into()
}
