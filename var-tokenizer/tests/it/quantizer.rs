//! Properties of the tokenizer that hold for any weights.

use proptest::prelude::*;
use tch::{Device, Kind, Tensor};
use var_tokenizer::quantizer::Usage;
use var_tokenizer::weights::portable;
use var_tokenizer::{PhiSharing, ScaleSchedule, TokenizerConfig, VqVae, cost};

fn config(sides: &[usize], phi: PhiSharing, z_norm: bool) -> TokenizerConfig {
    TokenizerConfig {
        channels: 32,
        channel_multipliers: vec![1, 1],
        residual_blocks: 1,
        latent_channels: 4,
        vocabulary: 24,
        schedule: ScaleSchedule::new(sides.to_vec()).unwrap(),
        phi,
        phi_ratio: 0.5,
        z_norm,
        commitment: 0.25,
    }
}

fn tokenizer(config: &TokenizerConfig, seed: u64) -> VqVae {
    let mut vae = VqVae::new(config, Device::Cpu, None).unwrap();
    portable::fill(vae.parameters_mut(), seed);
    vae.parameters().set_requires_grad(false);
    vae
}

fn largest(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn input_vectors_one_scale_at_a_time_equal_those_of_all_at_once(
        seed in 0_u64..1000,
        sides in prop::sample::select(vec![vec![1, 2, 3], vec![1, 3, 4, 6], vec![2, 5], vec![1, 2, 4, 8]]),
        phi in prop::sample::select(vec![PhiSharing::Shared, PhiSharing::Partial(3), PhiSharing::PerScale]),
    ) {
        let vae = tokenizer(&config(&sides, phi, false), seed);
        let schedule = vae.config().schedule.clone();
        let ids = portable::integers("ids", seed, &[2, schedule.tokens() as i64], 24);
        let whole = vae.to_model_input(&ids).unwrap();
        let q = vae.quantizer();
        let (mut latent, mut parts) = (q.empty_latent(2), Vec::new());
        for k in 0..schedule.scales() {
            let range = schedule.range(k);
            let part = ids.narrow(1, range.start as i64, range.len() as i64);
            let contribution = q.contribution(&q.codebook().vectors(&part), k);
            latent = latent + contribution;
            if k + 1 < schedule.scales() {
                parts.push(q.input_vectors(&latent, k + 1));
            }
        }
        prop_assert!(largest(&whole, &Tensor::cat(&parts, 1)) < 1e-6);
        prop_assert!(largest(&latent, q.latents(&ids).unwrap().last().unwrap()) < 1e-6);
    }

    #[test]
    fn a_batch_encodes_as_its_images_alone(seed in 0_u64..1000, z_norm: bool) {
        let vae = tokenizer(&config(&[1, 2, 4], PhiSharing::Partial(4), z_norm), seed);
        let latent = portable::normal("latent", seed, &[3, 4, 4, 4]);
        let together = vae.quantizer().encode(&latent).unwrap();
        for b in 0..3 {
            let image = latent.narrow(0, b, 1);
            let ids = |latent: &Tensor| Vec::<i64>::try_from(vae.quantizer().encode(latent).unwrap().view(-1)).unwrap();
            let in_company = Vec::<i64>::try_from(together.narrow(0, b, 1).reshape(-1)).unwrap();
            let alone = ids(&image);
            // Sums of other shapes round otherwise: two codes that are as near to a hair may change places, and
            // all that follows with them. A hair more or less in the latent then changes them as well.
            if let Some(first) = (0..alone.len()).find(|&i| alone[i] != in_company[i]) {
                let shaken = |n: u64| ids(&(&image + portable::normal(&format!("hair{n}"), seed, &[1, 4, 4, 4]) * 3e-6));
                let found: Vec<i64> = (0..32).map(|n| shaken(n)[first]).collect();
                prop_assert!(found.contains(&alone[first]) && found.contains(&in_company[first]), "no tie at {first}");
            }
        }
    }

    #[test]
    fn the_training_pass_finds_the_ids_that_encoding_finds(seed in 0_u64..1000) {
        let vae = tokenizer(&config(&[1, 2, 4], PhiSharing::PerScale, false), seed);
        let latent = portable::normal("latent", seed, &[2, 4, 4, 4]);
        let pass = vae.quantizer().training_pass(&latent, None).unwrap();
        prop_assert_eq!(Tensor::cat(&pass.ids, 1), vae.quantizer().encode(&latent).unwrap());
        let quantized = vae.quantizer().latents(&Tensor::cat(&pass.ids, 1)).unwrap();
        prop_assert!(largest(&pass.latent, quantized.last().unwrap()) < 1e-5);
    }
}

#[test]
fn the_straight_through_gradient_of_the_latent_is_that_of_what_follows() {
    let vae = tokenizer(&config(&[1, 4], PhiSharing::Shared, false), 3);
    let latent = portable::normal("latent", 3, &[1, 4, 4, 4]).set_requires_grad(true);
    let pass = vae.quantizer().training_pass(&latent, None).unwrap();
    let weights = portable::normal("weights", 3, &[1, 4, 4, 4]);
    (pass.latent * &weights).sum(Kind::Float).backward();
    assert!(largest(&latent.grad(), &weights) < 1e-6);
}

#[test]
fn a_schedule_that_does_not_fit_the_latent_says_what_would() {
    let vae = tokenizer(&config(&[1, 2, 4], PhiSharing::Shared, false), 1);
    let message =
        vae.encode(&Tensor::zeros([1, 3, 12, 12], (Kind::Float, Device::Cpu))).unwrap_err().to_string();
    assert!(message.contains("12 pixels") && message.contains("use 8-pixel images"), "{message}");
}

#[test]
fn configurations_that_cannot_be_built_are_refused_before_building() {
    let good = config(&[1, 2], PhiSharing::Shared, false);
    let bad = [
        TokenizerConfig { channels: 33, ..good.clone() },
        TokenizerConfig { channel_multipliers: vec![], ..good.clone() },
        TokenizerConfig { vocabulary: 1, ..good.clone() },
        TokenizerConfig { phi_ratio: 2.0, ..good.clone() },
        TokenizerConfig { phi: PhiSharing::Partial(0), ..good.clone() },
        TokenizerConfig { residual_blocks: 0, ..good },
    ];
    for config in bad {
        assert!(VqVae::new(&config, Device::Cpu, None).is_err(), "{config:?}");
    }
}

#[test]
fn a_saved_tokenizer_reads_back_bit_for_bit_and_a_cut_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.safetensors");
    let vae = tokenizer(&config(&[1, 2, 4], PhiSharing::Partial(4), true), 8);
    vae.save(&path).unwrap();
    let back = VqVae::load(&path, Device::Cpu).unwrap();
    assert_eq!(back.config(), vae.config());
    for (a, b) in vae.parameters().entries().iter().zip(back.parameters().entries()) {
        assert_eq!((&a.name, &a.tensor), (&b.name, &b.tensor));
    }
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let message = VqVae::load(&path, Device::Cpu).unwrap_err().to_string();
    assert!(message.contains("tokenizer.safetensors") && message.contains("cut short"), "{message}");
}

#[test]
fn usage_is_copied_first_and_then_averaged() {
    let hits = Tensor::zeros([1, 4], (Kind::Float, Device::Cpu));
    let mut usage = Usage::new(&hits, 0);
    let of = |codes: &[i64]| vec![Tensor::from_slice(codes)];
    usage.update(&of(&[0, 0, 1, 2]));
    assert_eq!(Vec::<f32>::try_from(hits.get(0)).unwrap(), [2.0, 1.0, 1.0, 0.0]);
    usage.update(&of(&[3, 3, 3, 3]));
    let after = Vec::<f32>::try_from(hits.get(0)).unwrap();
    for (found, expected) in after.iter().zip([1.8, 0.9, 0.9, 0.4]) {
        assert!((found - expected).abs() < 1e-6);
    }
    // Threshold 0.08 · 4 · 1 / 4 = 0.08: all four codes count as used.
    assert_eq!(usage.per_scale(4, 1)[0].used, 1.0);
}

#[test]
fn parameters_counted_from_the_configuration_are_those_of_the_built_tokenizer() {
    let mut small = config(&[1, 2, 4], PhiSharing::PerScale, false);
    for multipliers in [vec![1], vec![1, 2], vec![2, 1, 3]] {
        for (blocks, phi) in [(1, PhiSharing::Shared), (2, PhiSharing::Partial(3)), (3, PhiSharing::PerScale)]
        {
            (small.channel_multipliers, small.residual_blocks, small.phi) =
                (multipliers.clone(), blocks, phi);
            let built = VqVae::new(&small, Device::Cpu, None).unwrap();
            assert_eq!(cost::parameters(&small), built.parameters().count(), "{small:?}");
        }
    }
}

#[test]
fn flops_are_those_of_the_layers_counted_by_hand() {
    // One level, one block, 4×4 pixels: what is left is short enough to add up by hand.
    let mut tiny = config(&[1, 4], PhiSharing::Shared, false);
    tiny.channel_multipliers = vec![1];
    let pixels = 16.0;
    let three = |i: f64, o: f64| 2.0 * 9.0 * i * o * pixels;
    let attention = 2.0 * 4.0 * 32.0 * 32.0 * pixels + 4.0 * 32.0 * pixels * pixels;
    let residual = 2.0 * three(32.0, 32.0);
    let encoder = three(3.0, 32.0) + 3.0 * residual + 2.0 * attention + three(32.0, 4.0) + three(4.0, 4.0);
    let lookup = 2.0 * 24.0 * 4.0 * 17.0 + 2.0 * three(4.0, 4.0);
    assert_eq!(cost::encode_flops(&tiny), encoder + lookup);
    let decoder = three(4.0, 4.0) + three(4.0, 32.0) + 4.0 * residual + 3.0 * attention + three(32.0, 3.0);
    assert_eq!(cost::decode_flops(&tiny), decoder);
}
