//! Tokenizer at named shapes: encode and decode of 4 images of 256 pixels at the released shape, and a
//! training step of a small tokenizer (64 images of 32 pixels), each with its rate as a share of a 2048³
//! product's. `VAR_BENCH_PRECISION=auto|f32|bf16`.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use criterion::{Criterion, criterion_group, criterion_main};
use tch::{Device, Kind, Reduction, Tensor};
use var_tokenizer::torch;
use var_tokenizer::torch::optimizer::{AdamW, Slot, adamw_step, clear_gradients};
use var_tokenizer::weights::portable;
use var_tokenizer::{PhiSharing, TokenizerConfig, VqVae, cost};

use support::{kind, time, wanted};

fn inference(c: &mut Criterion) {
    torch::start();
    if !wanted(&["encode", "decode"]) {
        return;
    }
    let mut vae = VqVae::new(&TokenizerConfig::published(), Device::Cpu, None).unwrap();
    portable::fill(vae.parameters_mut(), 1);
    vae.set_compute_kind(kind());
    vae.freeze();
    let images = Tensor::rand([4, 3, 256, 256], (Kind::Float, Device::Cpu)) * 2.0 - 1.0;
    let latent = Tensor::randn([4, 32, 16, 16], (Kind::Float, Device::Cpu));
    let mut group = c.benchmark_group("published");
    let config = TokenizerConfig::published();
    let encode = || drop(vae.encode(&images).unwrap());
    time(&mut group, ("encode", "encode 4 × 256 px"), 4.0 * cost::encode_flops(&config), encode);
    let decode = || drop(tch::no_grad(|| vae.decode_latent(&latent).unwrap()));
    time(&mut group, ("decode", "decode 4 × 256 px"), 4.0 * cost::decode_flops(&config), decode);
    group.finish();
}

fn training(c: &mut Criterion) {
    if !wanted(&["tokenizer"]) {
        return;
    }
    let config = TokenizerConfig {
        channels: 32,
        channel_multipliers: vec![1, 2, 2],
        residual_blocks: 2,
        latent_channels: 16,
        vocabulary: 512,
        schedule: "1,2,3,4,6,8".parse().unwrap(),
        phi: PhiSharing::Partial(4),
        phi_ratio: 0.5,
        z_norm: false,
        commitment: 0.25,
    };
    let mut vae = VqVae::new(&config, Device::Cpu, Some(1)).unwrap();
    vae.set_compute_kind(kind());
    vae.parameters().set_requires_grad(true);
    let mut slots: Vec<Slot> = vae.parameters().trainable().map(|p| Slot::new(&p.tensor)).collect();
    let images = Tensor::rand([64, 3, 32, 32], (Kind::Float, Device::Cpu)) * 2.0 - 1.0;
    let mut group = c.benchmark_group("small");
    let mut step = || {
        let output = vae.training_forward(&images, None).unwrap();
        let l1 = output.reconstruction.l1_loss(&images, Reduction::Mean);
        let l2 = output.reconstruction.mse_loss(&images, Reduction::Mean);
        (l1 + l2 + output.vq_loss).backward();
        adamw_step(&mut slots, &AdamW::default()).unwrap();
        let parameters: Vec<&Tensor> = slots.iter().map(|s| &s.parameter).collect();
        clear_gradients(&parameters).unwrap();
    };
    time(
        &mut group,
        ("tokenizer", "tokenizer step, 64 × 32 px"),
        64.0 * cost::training_flops(&config),
        &mut step,
    );
    group.finish();
}

criterion_group!(benches, inference, training);
criterion_main!(benches);
