//! Winograd's convolution against libtorch's in f64, and a whole decoder that uses it.

use proptest::prelude::*;
use tch::{Device, Kind, Tensor, no_grad};
use var_tokenizer::torch::kernels::{WinogradFilter, channels_last, winograd_applies};
use var_tokenizer::torch::optimizer::{AdamW, Slot, adamw_step};
use var_tokenizer::torch::start;
use var_tokenizer::{TokenizerConfig, VqVae, builtin, weights::portable};

use super::{cases, distance, kinds, noise};

fn applies(kind: Kind) -> bool {
    start();
    no_grad(|| winograd_applies(&Tensor::zeros([1, 1, 1, 1], (kind, Device::Cpu))))
}

fn direct(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Tensor {
    let double = |t: &Tensor| t.to_kind(Kind::Double);
    double(x).conv2d(&double(weight), Some(&double(bias)), [1, 1], [1, 1], [1, 1], 1)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn winograd_is_the_direct_convolution_plus_the_stream(
        (batch, inputs, outputs) in (1..4_i64, 1..12_i64, 1..7_i64),
        (height, width) in (1..30_i64, 1..30_i64),
        stream in proptest::option::of(kinds()), adjacent in any::<bool>(), kind in kinds(), seed in any::<u64>(),
    ) {
        let kind = if applies(kind) { kind } else { Kind::Float };
        let (inputs, outputs) = (32 * inputs, 32 * outputs);
        let x = noise(&[batch, inputs, height, width], seed).to_kind(kind);
        let x = if adjacent { channels_last(&x).unwrap() } else { x };
        let (weight, bias) = (noise(&[outputs, inputs, 3, 3], seed ^ 1), noise(&[outputs], seed ^ 2));
        let stream = stream.map(|kind| noise(&[batch, outputs, height, width], seed ^ 3).to_kind(kind));
        let y = no_grad(|| WinogradFilter::default().convolve(&x, &weight, &bias, stream.as_ref())).unwrap();
        prop_assert_eq!(y.kind(), stream.as_ref().map_or(kind, Tensor::kind));
        let mut expected = direct(&x, &weight, &bias);
        if let Some(stream) = &stream {
            expected += stream.to_kind(Kind::Double);
        }
        let least = if kind == Kind::BFloat16 || y.kind() == Kind::BFloat16 { 6e-3 } else { 2e-6 };
        prop_assert!(distance(&y, &expected) < least, "{}", distance(&y, &expected));
    }
}

#[test]
fn the_bits_do_not_depend_on_threads_or_on_the_batch() {
    for kind in [Kind::Float, Kind::BFloat16].into_iter().filter(|&kind| kind == Kind::Float || applies(kind))
    {
        let x = noise(&[3, 64, 21, 34], 1).to_kind(kind);
        let (weight, bias, filter) = (noise(&[96, 64, 3, 3], 2), noise(&[96], 3), WinogradFilter::default());
        let run = |x: &Tensor| no_grad(|| filter.convolve(x, &weight, &bias, None).unwrap());
        let threads = tch::get_num_threads();
        let first = run(&x);
        for n in [1, 2, 3, threads] {
            tch::set_num_threads(n);
            assert_eq!(run(&x), first, "{n} threads");
        }
        assert_eq!(run(&x.narrow(0, 2, 1)), first.narrow(0, 2, 1), "one image");
    }
}

#[test]
fn a_weight_that_changed_is_transformed_again() {
    start();
    let (x, bias) = (noise(&[1, 32, 8, 8], 1), noise(&[32], 2));
    let (mut weight, filter) = (noise(&[32, 32, 3, 3], 3), WinogradFilter::default());
    for seed in [4, 5] {
        no_grad(|| weight.copy_(&noise(&[32, 32, 3, 3], seed)));
        let y = no_grad(|| filter.convolve(&x, &weight, &bias, None)).unwrap();
        assert!(distance(&y, &direct(&x, &weight, &bias)) < 2e-6);
    }
    let other = noise(&[32, 32, 3, 3], 6);
    let y = no_grad(|| filter.convolve(&x, &other, &bias, None)).unwrap();
    assert!(distance(&y, &direct(&x, &other, &bias)) < 2e-6, "another tensor");
}

#[test]
fn winograd_needs_fused_kernels_and_no_gradient() {
    let fused = std::env::var("VAR_KERNELS").as_deref() != Ok("none");
    assert_eq!(applies(Kind::Float), fused);
    assert!(!applies(Kind::Double));
    assert!(!winograd_applies(&Tensor::zeros([1, 1, 1, 1], (Kind::Float, Device::Cpu))), "gradients are on");
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    start();
    let (x, bias) = (noise(&[1, 32, 8, 8], 1), noise(&[32], 2));
    let convolve = |x: &Tensor, weight: &Tensor, bias: &Tensor, stream: Option<&Tensor>| {
        no_grad(|| WinogradFilter::default().convolve(x, weight, bias, stream))
    };
    let weight = noise(&[32, 32, 3, 3], 3);
    assert!(convolve(&x, &noise(&[30, 32, 3, 3], 3), &noise(&[30], 2), None).is_err(), "30 outputs");
    assert!(convolve(&x, &noise(&[32, 32, 1, 1], 3), &bias, None).is_err(), "1×1");
    assert!(convolve(&x, &noise(&[32, 64, 3, 3], 3), &bias, None).is_err(), "64 inputs");
    assert!(convolve(&x.view([32, 64]), &weight, &bias, None).is_err(), "two dimensions");
    assert!(convolve(&x, &weight, &noise(&[64], 2), None).is_err(), "64 biases");
    assert!(convolve(&x, &weight, &bias, Some(&noise(&[1, 32, 8, 7], 4))).is_err(), "another stream");
}

/// Mean square of the difference of two tensors.
fn difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).square().mean(Kind::Double).double_value(&[])
}

#[test]
fn a_bf16_image_is_as_near_to_the_f32_image_as_with_direct_convolutions() {
    start();
    let released_depth = TokenizerConfig {
        channels: 32,
        latent_channels: 32,
        schedule: "1,2,3,4".parse().unwrap(),
        ..TokenizerConfig::published()
    };
    let mut deep = VqVae::new(&released_depth, Device::Cpu, None).unwrap();
    portable::fill(deep.parameters_mut(), 1);
    let small = builtin::open("builtin", None, Device::Cpu).unwrap().tokenizer;
    for (name, mut vae) in [("built-in", small), ("depth of the released one", deep)] {
        vae.parameters().set_requires_grad(false);
        let side = vae.config().image_side() as i64;
        let images =
            noise(&[4, 3, side / 4, side / 4], 5).upsample_bilinear2d([side, side], false, None, None);
        // With gradients on, convolutions are direct.
        let latent = vae.latent(&images).unwrap().detach();
        let exact = vae.decode_latent(&latent).unwrap().detach();
        let close = no_grad(|| vae.decode_latent(&latent)).unwrap();
        let scale = exact.square().mean(Kind::Double).double_value(&[]);
        assert!(
            difference(&close, &exact) < 1e-10 * scale,
            "{name}, f32: {}",
            difference(&close, &exact) / scale
        );
        vae.set_compute_kind(Kind::BFloat16);
        let direct = difference(&vae.decode_latent(&latent).unwrap().detach(), &exact);
        let winograd = difference(&no_grad(|| vae.decode_latent(&latent)).unwrap(), &exact);
        println!("{name}: direct {:.2} dB, Winograd {:.2} dB", db(direct), db(winograd));
        assert!(winograd <= 1.02 * direct, "{name}: {winograd} against {direct}");
        let encoded = |with: bool| if with { no_grad(|| vae.latent(&images)) } else { vae.latent(&images) };
        let (direct, winograd) =
            (difference(&encoded(false).unwrap(), &latent), difference(&encoded(true).unwrap(), &latent));
        println!("{name}, latent: direct {:.2} dB, Winograd {:.2} dB", db(direct), db(winograd));
        assert!(winograd <= 1.02 * direct, "{name}, latent: {winograd} against {direct}");
    }
}

#[test]
fn a_decoder_in_training_decodes_with_the_weights_of_the_last_step() {
    start();
    let mut vae = builtin::open("builtin", None, Device::Cpu).unwrap().tokenizer;
    let side = vae.config().schedule.last_side() as i64;
    let latent = noise(&[2, vae.config().latent_channels as i64, side, side], 1);
    let mut slots: Vec<Slot> = vae.parameters().trainable().map(|p| Slot::new(&p.tensor)).collect();
    for _ in 0..2 {
        let now = no_grad(|| vae.decode_latent(&latent)).unwrap();
        let image = vae.decode_latent(&latent).unwrap();
        assert!(difference(&now, &image.detach()) < 1e-10);
        image.square().mean(Kind::Float).backward();
        adamw_step(&mut slots, &AdamW { lr: 1e-2, ..AdamW::default() }).unwrap();
    }
    // A file read into a frozen tokenizer counts, too.
    vae.parameters().set_requires_grad(false);
    let trained = no_grad(|| vae.decode_latent(&latent)).unwrap();
    vae.load_tensors(&builtin::weights("builtin", None).unwrap().0).unwrap();
    let read = no_grad(|| vae.decode_latent(&latent)).unwrap();
    assert!(difference(&read, &trained) > 1e-3);
    assert!(difference(&read, &vae.decode_latent(&latent).unwrap()) < 1e-10);
}

/// PSNR of images between −1 and 1.
fn db(mean_square: f64) -> f64 {
    10.0 * (4.0 / mean_square).log10()
}
