//! Transformer at named shapes: a training step of d6 (16 pictures × 680 tokens) and one 256-pixel picture
//! from d16 with guidance, decoding included, each with its rate as a share of a 2048³ product's.
//! `VAR_BENCH_PRECISION=auto|f32|bf16`.
#![allow(missing_docs, clippy::unwrap_used)]

#[path = "../../var-tokenizer/benches/support/mod.rs"]
mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use tch::{Device, Kind, Tensor};
use var_model::sampling::{Draws, Sampler, SamplingOptions};
use var_model::transformer::Initialisation;
use var_model::{Transformer, TransformerConfig, cost};
use var_tokenizer::torch;
use var_tokenizer::torch::kernels::cross_entropy;
use var_tokenizer::torch::optimizer::{AdamW, Slot, adamw_step, clear_gradients, clip_grad_norm};
use var_tokenizer::weights::portable;
use var_tokenizer::{TokenizerConfig, VqVae};

use support::{kind, time, wanted};

fn training(c: &mut Criterion) {
    torch::start();
    if !wanted(&["train"]) {
        return;
    }
    let config = TransformerConfig::published(6);
    let mut model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, Some(1)).unwrap();
    model.set_compute_kind(kind());
    model.parameters().set_requires_grad(true);
    let mut slots: Vec<Slot> = model.parameters().trainable().map(|p| Slot::new(&p.tensor)).collect();
    let labels = portable::integers("labels", 1, &[16], 1000);
    let ids = portable::integers("ids", 1, &[16 * 680], 4096);
    let vectors = portable::normal("vectors", 1, &[16, 679, 32]);
    let mut step = || {
        let logits = model.forward(&labels, &vectors, 10, None).unwrap();
        cross_entropy(&logits.view([-1, 4096]), &ids, 0.0).unwrap().loss.mean(Kind::Float).backward();
        let parameters: Vec<&Tensor> = slots.iter().map(|s| &s.parameter).collect();
        clip_grad_norm(&parameters, 2.0).unwrap();
        adamw_step(&mut slots, &AdamW::default()).unwrap();
        let parameters: Vec<&Tensor> = slots.iter().map(|s| &s.parameter).collect();
        clear_gradients(&parameters).unwrap();
    };
    let mut group = c.benchmark_group("d6");
    let flops = 16.0 * cost::training_flops(&config);
    time(&mut group, ("train", "training step, 16 × 680 tokens"), flops, &mut step);
    group.finish();
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

criterion_group!(benches, training, sampling);
criterion_main!(benches);
