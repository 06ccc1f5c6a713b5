//! Transformer at named shapes: a training step of d6 (16 pictures × 680 tokens) and one 256-pixel picture
//! from d16 with guidance, decoding included, each with its rate as a share of a 2048³ product's.
//! `VAR_BENCH_PRECISION=auto|f32|bf16`; `VAR_BENCH_CASE=scale` times training over a ladder of sizes.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../var-tokenizer/benches/support/mod.rs"]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use tch::{Device, Kind, Tensor};
use var_model::sampling::{Draws, Sampler, SamplingOptions};
use var_model::transformer::Initialisation;
use var_model::{Transformer, TransformerConfig, cost};
use var_tokenizer::torch::kernels::cross_entropy;
use var_tokenizer::torch::optimizer::{AdamW, Slot, adamw_step, clear_gradients, clip_grad_norm};
use var_tokenizer::torch::{self, product_peak};
use var_tokenizer::weights::portable;
use var_tokenizer::{TokenizerConfig, VqVae};

use support::{asked, kind, median_of_five, time, wanted};

/// Depth, width and images per step: 40,000 to 300 million parameters.
const LADDER: [(usize, usize, i64); 9] = [
    (1, 32, 64),
    (2, 64, 64),
    (3, 96, 64),
    (4, 128, 64),
    (5, 192, 64),
    (6, 384, 64),
    (8, 512, 64),
    (12, 768, 16),
    (16, 1024, 16),
];

/// A step of training on `images` images with random tokens.
fn step_of(config: &TransformerConfig, images: i64) -> impl FnMut() + use<> {
    let mut model = Transformer::new(config, &Initialisation::default(), Device::Cpu, Some(1)).unwrap();
    model.set_compute_kind(kind());
    model.parameters().set_requires_grad(true);
    let mut slots: Vec<Slot> = model.parameters().trainable().map(|p| Slot::new(&p.tensor)).collect();
    let (tokens, vocabulary) = (config.schedule.tokens() as i64, config.vocabulary as u64);
    let labels = portable::integers("labels", 1, &[images], config.classes as u64);
    let ids = portable::integers("ids", 1, &[images * tokens], vocabulary);
    let vectors = portable::normal("vectors", 1, &[images, tokens - 1, config.latent_channels as i64]);
    let steps = config.steps();
    move || {
        let logits = model.forward(&labels, &vectors, steps, None).unwrap();
        cross_entropy(&logits.view([-1, vocabulary as i64]), &ids, 0.0)
            .unwrap()
            .loss
            .mean(Kind::Float)
            .backward();
        let parameters: Vec<&Tensor> = slots.iter().map(|s| &s.parameter).collect();
        clip_grad_norm(&parameters, 2.0).unwrap();
        adamw_step(&mut slots, &AdamW::default()).unwrap();
        let parameters: Vec<&Tensor> = slots.iter().map(|s| &s.parameter).collect();
        clear_gradients(&parameters).unwrap();
    }
}

fn training(c: &mut Criterion) {
    torch::start();
    if wanted(&["train"]) {
        let config = TransformerConfig::published(6);
        let mut group = c.benchmark_group("d6");
        let flops = 16.0 * cost::training_flops(&config);
        time(&mut group, ("train", "training step, 16 × 680 tokens"), flops, step_of(&config, 16));
        group.finish();
    }
}

/// `VAR_BENCH_CASE=scale`: seconds per token of training over a ladder of sizes, as one JSON object a line.
fn scale(_: &mut Criterion) {
    if asked().as_deref() != Some("scale") {
        return;
    }
    for (depth, width, images) in LADDER {
        let config = TransformerConfig {
            depth,
            width,
            heads: width.div_ceil(64),
            classes: 10,
            vocabulary: 512,
            latent_channels: 16,
            schedule: "1,2,3,4,6,8".parse().unwrap(),
            ..TransformerConfig::published(6)
        };
        let seconds = median_of_five(&mut step_of(&config, images));
        let tokens = images as f64 * config.schedule.tokens() as f64;
        let flops = images as f64 * cost::training_flops(&config);
        println!(
            r#"{{"size": "{depth}x{width}", "parameters": {}, "images": {images}, "seconds_per_token": {}, "flops_per_token": {}, "share": {}}}"#,
            cost::parameters(&config),
            seconds / tokens,
            flops / tokens,
            flops / seconds / product_peak(Device::Cpu, kind()).unwrap()
        );
    }
}

fn sampling(c: &mut Criterion) {
    if !wanted(&["sample"]) {
        return;
    }
    let config = TransformerConfig::published(16);
    let mut model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, Some(1)).unwrap();
    let mut vae = VqVae::new(&TokenizerConfig::published(), Device::Cpu, None).unwrap();
    portable::fill(vae.parameters_mut(), 1);
    model.set_compute_kind(kind());
    model.freeze();
    vae.set_compute_kind(kind());
    vae.freeze();
    let sampler = Sampler::new(&model, &vae).unwrap();
    let mut group = c.benchmark_group("d16");
    let sample = || drop(sampler.sample(&[7], &Draws::new(1, vec![0]), &SamplingOptions::default()).unwrap());
    // With and without the class, then the decoder once.
    let flops =
        2.0 * cost::forward_flops(&config) + var_tokenizer::cost::decode_flops(&TokenizerConfig::published());
    time(&mut group, ("sample", "sample one 256 px picture"), flops, sample);
    group.finish();
}

criterion_group!(benches, training, sampling, scale);
criterion_main!(benches);
