//! Feature networks on the processor: 32 pictures of 256 pixels to activations (resizing included), and the
//! layers alone on one prepared batch, each in pictures a second and as a share of a 2048³ product in `f32`.
//!
//! Weights are made up, which costs the same as published ones.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use criterion::{Criterion, SamplingMode, criterion_group, criterion_main};
use image::{Rgb, RgbImage};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;
use var_eval::features::efficientnet::{self, EfficientNetLite0};
use var_eval::features::inception::{self, Inception};
use var_eval::features::network::FeatureNetwork;
use var_eval::features::preprocess::InceptionInput;
use var_eval::features::weights::TensorSource;
use var_tokenizer::torch::{self, product_peak};
use var_tokenizer::weights::{portable, safetensors};

/// Of the convolutions and the linear layer for one picture, a product and a sum counting two.
const EFFICIENTNET_FLOPS: f64 = 770_375_104.0;
const INCEPTION_FLOPS: f64 = 11_426_464_960.0;
/// Pictures that go through the layers at once, as the networks have it.
const BATCH: usize = 16;

/// Made-up weights, kept so that they can be written to a file.
#[derive(Default)]
struct Weights(BTreeMap<String, Tensor>);

impl TensorSource for Weights {
    fn take(&mut self, name: &str, shape: &[i64]) -> var_eval::Result<Tensor> {
        let normal = portable::normal(name, 1, shape);
        let tensor = match shape {
            [_] if name.ends_with("running_var") => normal.abs() + 0.5,
            [_] => normal * 0.1 + f64::from(u8::from(name.ends_with(".weight"))),
            _ => normal * (2.0 / shape[1..].iter().product::<i64>() as f64).sqrt(),
        };
        self.0.insert(name.to_owned(), tensor.shallow_clone());
        Ok(tensor)
    }
}

impl Weights {
    fn write(&self) -> (TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("weights");
        safetensors::write(&path, &self.0, &BTreeMap::new()).unwrap();
        (folder, path)
    }
}

fn pictures(count: u32) -> Vec<RgbImage> {
    let byte = |value: u32| (value % 256) as u8;
    (0..count)
        .map(|k| RgbImage::from_fn(256, 256, |x, y| Rgb([byte(3 * x + k), byte(5 * y), byte(x * y + 7 * k)])))
        .collect()
}

/// Times `work` on `count` pictures, and prints its rate (best of three) beside the peak of the same minute.
fn time(c: &mut Criterion, name: &str, count: usize, flops: f64, mut work: impl FnMut()) {
    let mut group = c.benchmark_group("networks");
    group.sample_size(10).sampling_mode(SamplingMode::Flat).measurement_time(Duration::from_secs(5));
    let mut first = true;
    group.bench_function(name, |b| {
        // Inside, so that a bench that was not asked for does not run; criterion calls it more than once.
        if std::mem::take(&mut first) {
            work();
            let peak = product_peak(Device::Cpu, Kind::Float).unwrap();
            let seconds = (0..3).map(|_| {
                let began = Instant::now();
                work();
                began.elapsed().as_secs_f64()
            });
            let rate = count as f64 / seconds.fold(f64::INFINITY, f64::min);
            println!(
                "{name}: {rate:.1} pictures/s, {:.0} GFLOP/s, {:.0}% of the {:.0} GFLOP/s of a 2048³ product",
                rate * flops / 1e9,
                100.0 * rate * flops / peak,
                peak / 1e9
            );
        }
        b.iter(&mut work);
    });
    group.finish();
}

fn efficientnet(c: &mut Criterion) {
    torch::start();
    let mut weights = Weights::default();
    let layers = efficientnet::Layers::new(&mut weights, Device::Cpu).unwrap();
    let (_folder, path) = weights.write();
    let network = EfficientNetLite0::load(&path, Device::Cpu).unwrap();
    let pictures = pictures(32);
    let batch = efficientnet::prepare(&pictures[..BATCH], Device::Cpu).unwrap();
    let name = "efficientnet-lite0 activations";
    time(c, name, pictures.len(), EFFICIENTNET_FLOPS, || drop(network.activations(&pictures).unwrap()));
    let name = "efficientnet-lite0 layers";
    time(c, name, BATCH, EFFICIENTNET_FLOPS, || drop(layers.forward(&batch).unwrap()));
}

fn inception(c: &mut Criterion) {
    torch::start();
    let mut weights = Weights::default();
    let layers = inception::Layers::new(&mut weights, Device::Cpu).unwrap();
    let (_folder, path) = weights.write();
    let input = InceptionInput::default();
    let network = Inception::load(&path, input, Device::Cpu).unwrap();
    let pictures = pictures(32);
    let batch = input.prepare(&pictures[..BATCH], Device::Cpu).unwrap();
    let name = "inception-fid activations";
    time(c, name, pictures.len(), INCEPTION_FLOPS, || drop(network.activations(&pictures).unwrap()));
    let name = "inception-fid layers";
    time(c, name, BATCH, INCEPTION_FLOPS, || drop(layers.forward(&batch).unwrap()));
}

criterion_group!(benches, efficientnet, inception);
criterion_main!(benches);
