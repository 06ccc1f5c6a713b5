//! Properties of the transformer that hold for any weights.

use proptest::prelude::*;
use tch::{Device, Kind, Tensor};
use var_model::config::Standardisation;
use var_model::transformer::{Context, Initialisation};
use var_model::{ScaleSchedule, Transformer, TransformerConfig, cost};
use var_tokenizer::torch;
use var_tokenizer::weights::portable;

/// Every test begins with one of these, and with it libtorch: the guard of bf16 counts only before the
/// first tensor of the whole binary.
fn config(sides: &[usize], depth: usize, shared_adaln: bool, qk_norm: bool) -> TransformerConfig {
    torch::start();
    TransformerConfig {
        depth,
        width: 32,
        heads: 4,
        classes: 5,
        vocabulary: 24,
        latent_channels: 4,
        schedule: ScaleSchedule::new(sides.to_vec()).unwrap(),
        order: var_model::Order::NextScale,
        adaln: true,
        shared_adaln,
        qk_norm,
        input: None,
    }
}

fn model(config: &TransformerConfig, seed: u64) -> Transformer {
    let mut model = Transformer::new(config, &Initialisation::default(), Device::Cpu, None).unwrap();
    portable::fill(model.parameters_mut(), seed);
    model.parameters().set_requires_grad(false);
    model
}

fn inputs(config: &TransformerConfig, batch: i64, seed: u64) -> (Tensor, Tensor) {
    let first = config.schedule.range(0).len();
    let shape = [batch, (config.schedule.tokens() - first) as i64, config.latent_channels as i64];
    (
        portable::integers("labels", seed, &[batch], config.classes as u64),
        portable::normal("vectors", seed, &shape),
    )
}

fn largest(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

/// Scale of every position, for the mask.
fn scales_of(schedule: &ScaleSchedule) -> Tensor {
    let list: Vec<i64> =
        (0..schedule.scales()).flat_map(|k| std::iter::repeat_n(k as i64, schedule.range(k).len())).collect();
    Tensor::from_slice(&list)
}

/// Attention of packed `[B, L, 3·4·8]` over all positions with the block-causal mask: the form that ours
/// replaces.
fn masked_attention(packed: &Tensor, temperature: Option<&Tensor>, schedule: &ScaleSchedule) -> Tensor {
    let at = scales_of(schedule);
    let hidden = at.unsqueeze(1).lt_tensor(&at.unsqueeze(0));
    let (batch, length, _) = packed.size3().unwrap();
    let parts = packed.view([batch, length, 3, 4, 8]).permute([2, 0, 3, 1, 4]);
    let (q, k, v) = (parts.get(0), parts.get(1), parts.get(2));
    let unit = |t: &Tensor| t / t.norm_scalaropt_dim(2.0, [-1_i64].as_slice(), true).clamp_min(1e-12);
    let scores = match temperature {
        Some(temperature) => (unit(&q) * temperature).matmul(&unit(&k).transpose(2, 3)),
        None => q.matmul(&k.transpose(2, 3)) * (0.25 / 8_f64.sqrt()),
    };
    let weights = scores.masked_fill(&hidden, f64::NEG_INFINITY).softmax(-1, None);
    weights.matmul(&v).transpose(1, 2).flatten(2, 3)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    #[test]
    fn attention_per_scale_equals_attention_under_the_mask(
        seed in 0_u64..1000,
        sides in prop::sample::select(vec![vec![1, 2, 3], vec![1, 3, 4], vec![2, 3], vec![1, 2, 3, 5]]),
        qk_norm: bool,
    ) {
        use var_model::transformer::Context;
        use var_model::transformer::attention::SelfAttention;
        use var_tokenizer::weights::{Parameters, Storage};
        let config = config(&sides, 1, false, qk_norm);
        let mut parameters = Parameters::new(Device::Cpu, Some(seed), Storage::PLAIN);
        let attention = SelfAttention::standalone(parameters.builder(), &config);
        portable::fill(&mut parameters, seed);
        let x = portable::normal("x", seed, &[2, config.schedule.tokens() as i64, 32]).set_requires_grad(true);
        let schedule = &config.schedule;
        let ends: Vec<i64> = (0..schedule.scales()).map(|k| schedule.seen(k) as i64).collect();
        let ours = attention.forward(&x, 0, &mut Context::TeacherForced(&ends)).unwrap();
        let masked = masked_attention(&attention.packed(&x).unwrap(), attention.temperature().as_ref(), schedule);
        let masked = attention.output(&masked).unwrap();
        prop_assert!(largest(&ours, &masked) < 1e-5);
        let weights = portable::normal("weights", seed, &ours.size());
        let gradient = |y: &Tensor| Tensor::run_backward(&[(y * &weights).sum(Kind::Float)], &[&x], true, false);
        prop_assert!(largest(&gradient(&ours)[0], &gradient(&masked)[0]) < 1e-4);
    }

    #[test]
    fn a_token_does_not_see_later_scales(seed in 0_u64..1000, shared: bool) {
        let config = config(&[1, 2, 3], 2, shared, true);
        let model = model(&config, seed);
        let (labels, vectors) = inputs(&config, 2, seed);
        let before = model.forward(&labels, &vectors, 3, None).unwrap();
        // Vectors of the last scale begin after those of the second.
        let changed = vectors.copy();
        let _ = changed.narrow(1, 4, 9).fill_(3.0);
        let after = model.forward(&labels, &changed, 3, None).unwrap();
        prop_assert!(largest(&before.narrow(1, 0, 5), &after.narrow(1, 0, 5)) < 1e-6);
        prop_assert!(largest(&before.narrow(1, 5, 9), &after.narrow(1, 5, 9)) > 1e-3);
    }

    #[test]
    fn parameters_by_formula_equal_those_of_the_built_model(
        depth in 1_usize..4, heads in 1_usize..4, head_width in prop::sample::select(vec![8_usize, 12]),
        classes in 1_usize..9, vocabulary in 2_usize..40, latent_channels in 1_usize..6,
        shared_adaln: bool, qk_norm: bool,
    ) {
        let config = TransformerConfig {
            depth, width: heads * head_width, heads, classes, vocabulary, latent_channels,
            schedule: ScaleSchedule::new(vec![1, 2, 4]).unwrap(), order: var_model::Order::NextScale,
            adaln: true,
            shared_adaln, qk_norm, input: None,
        };
        let model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, None).unwrap();
        prop_assert_eq!(model.parameters().count(), cost::parameters(&config));
    }
}

#[test]
fn the_first_loss_is_the_logarithm_of_the_vocabulary() {
    let mut config = config(&[1, 2, 3, 4], 3, false, true);
    config.vocabulary = 512;
    let model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, Some(7)).unwrap();
    let (labels, vectors) = inputs(&config, 4, 1);
    let logits = tch::no_grad(|| model.forward(&labels, &vectors, 4, None).unwrap());
    let ids = portable::integers("ids", 1, &[4, 30], 512);
    let loss = logits.view([-1, 512]).cross_entropy_for_logits(&ids.view([-1])).double_value(&[]);
    assert!((loss - 512_f64.ln()).abs() < 0.02, "{loss}");
}

#[test]
fn initial_weights_have_the_published_deviations() {
    let mut config = config(&[1, 2], 2, false, true);
    (config.width, config.heads) = (256, 4);
    let model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, Some(1)).unwrap();
    let base = (1.0_f64 / 256.0 / 3.0).sqrt();
    let deviation = |name: &str| model.parameters().get(name).unwrap().std(false).double_value(&[]);
    let near = |name: &str, expected: f64| {
        let found = deviation(name);
        assert!((found / expected - 1.0).abs() < 0.05, "{name}: {found}, expected {expected}");
    };
    near("blocks.0.attn.mat_qkv.weight", base);
    near("blocks.1.attn.proj.weight", base / 2.0);
    near("blocks.1.ffn.fc2.weight", base / 2.0);
    near("head.weight", base * 0.02);
    near("head_nm.ada_lin.1.weight", base * 0.5);
    let adaln = model.parameters().get("blocks.0.ada_lin.1.weight").unwrap();
    let gates = adaln.narrow(0, 0, 512).std(false).double_value(&[]);
    let rest = adaln.narrow(0, 512, 1024).std(false).double_value(&[]);
    assert!((gates / (base * 1e-3) - 1.0).abs() < 0.05 && (rest / (base * 0.5) - 1.0).abs() < 0.05);
    assert_eq!(deviation("blocks.0.attn.q_bias"), 0.0);
}

#[test]
fn a_shared_adaln_starts_unscaled_and_the_offsets_beside_it_scaled() {
    let mut config = config(&[1, 2], 2, true, true);
    (config.width, config.heads) = (256, 4);
    let model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, Some(1)).unwrap();
    let near = |tensor: &Tensor, expected: f64| {
        let found = tensor.std(false).double_value(&[]);
        assert!((found / expected - 1.0).abs() < 0.1, "{found}, expected {expected}");
    };
    let shared = model.parameters().get("shared_ada_lin.1.weight").unwrap();
    let base = (1.0_f64 / 256.0 / 3.0).sqrt();
    near(&shared.narrow(0, 0, 512), base);
    near(&shared.narrow(0, 512, 1024), base);
    let offsets = model.parameters().get("blocks.0.ada_gss").unwrap();
    near(&offsets.narrow(2, 0, 2), 1e-3 / 16.0);
    near(&offsets.narrow(2, 2, 4), 0.5 / 16.0);
}

#[test]
fn bf16_stays_within_two_percent_of_the_loss() {
    let config = config(&[1, 2, 3, 4], 3, false, true);
    let mut model = model(&config, 5);
    let (labels, vectors) = inputs(&config, 8, 5);
    let ids = portable::integers("ids", 5, &[8 * 30], 24);
    let mut loss = |kind: Kind| {
        model.set_compute_kind(kind);
        let logits = tch::no_grad(|| model.forward(&labels, &vectors, 4, None).unwrap());
        logits.view([-1, 24]).cross_entropy_for_logits(&ids).double_value(&[])
    };
    let (exact, short) = (loss(Kind::Float), loss(Kind::BFloat16));
    assert!((short / exact - 1.0).abs() < 0.02, "{exact} {short}");
    assert_ne!(exact, short);
}

#[test]
fn a_dropped_branch_adds_nothing_and_a_kept_one_is_scaled() {
    let config = config(&[1, 2], 2, false, true);
    let model = model(&config, 9);
    let (labels, vectors) = inputs(&config, 2, 9);
    let ones = Tensor::ones([2, 2, 2], (Kind::Float, Device::Cpu));
    let plain = model.forward(&labels, &vectors, 2, None).unwrap();
    assert!(largest(&plain, &model.forward(&labels, &vectors, 2, Some(&ones)).unwrap()) < 1e-6);
    // The first picture keeps everything, the second drops all branches: only the first agrees.
    let masks = ones.copy();
    let _ = masks.select(2, 1).fill_(0.0);
    let dropped = model.forward(&labels, &vectors, 2, Some(&masks)).unwrap();
    assert!(largest(&plain.get(0), &dropped.get(0)) < 1e-6);
    assert!(largest(&plain.get(1), &dropped.get(1)) > 1e-2);
}

#[test]
fn standardised_inputs_are_what_the_embedding_sees() {
    let mut config = config(&[1, 2], 1, false, true);
    let raw = model(&config, 4);
    let (labels, vectors) = inputs(&config, 2, 4);
    config.input =
        Some(Standardisation { mean: vec![1.0, 2.0, 3.0, 4.0], deviation: vec![0.5, 2.0, 1.0, 4.0] });
    let standardised = model(&config, 4);
    let scaled = &vectors * Tensor::from_slice(&[0.5_f32, 2.0, 1.0, 4.0])
        + Tensor::from_slice(&[1.0_f32, 2.0, 3.0, 4.0]);
    let a = raw.forward(&labels, &vectors, 2, None).unwrap();
    let b = standardised.forward(&labels, &scaled, 2, None).unwrap();
    assert!(largest(&a, &b) < 1e-4);
}

#[test]
fn a_saved_transformer_reads_back_and_another_size_lists_what_does_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let small = config(&[1, 2], 1, true, true);
    let model = model(&small, 2);
    model.save(&path).unwrap();
    let back = Transformer::load(&path, Device::Cpu).unwrap();
    assert_eq!(back.config(), &small);
    for (a, b) in model.parameters().entries().iter().zip(back.parameters().entries()) {
        assert_eq!((&a.name, &a.tensor), (&b.name, &b.tensor));
    }
    let other = config(&[1, 2], 2, false, true);
    let mut other = Transformer::new(&other, &Initialisation::default(), Device::Cpu, None).unwrap();
    let weights = var_tokenizer::weights::safetensors::open(&path).unwrap();
    let message = other.load_tensors(&weights).unwrap_err().to_string();
    for part in ["missing blocks.1.attn.q_bias", "unexpected shared_ada_lin.1.weight", "model.safetensors"] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn the_cost_of_the_largest_configuration_is_counted_without_overflow() {
    let mut config = config(&(1..=1024).collect::<Vec<_>>(), 256, false, true);
    (config.width, config.heads) = (1 << 16, 1 << 16);
    (config.classes, config.vocabulary, config.latent_channels) = (1 << 20, 1 << 24, 1 << 16);
    config.validate().unwrap();
    assert!(cost::parameters(&config) > 1 << 44);
    assert!(cost::training_memory(&config, &cost::TrainingStep::plain(1_000_000, 4)).total().is_finite());
    assert!(cost::training_flops(&config).is_finite() && cost::six_n_d(&config).is_finite());
    assert!(TransformerConfig::published(usize::MAX).validate().is_err());
}

#[test]
fn without_adaln_the_class_acts_through_the_first_token_alone() {
    var_tokenizer::torch::start();
    let config = TransformerConfig { adaln: false, ..config(&[1, 2, 4], 2, false, true) };
    let mut model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, Some(1)).unwrap();
    assert_eq!(model.parameters().count(), cost::parameters(&config));
    assert!(model.parameters().entries().iter().all(|p| !p.name.contains("ada_lin")));
    portable::fill(model.parameters_mut(), 3);
    model.parameters().set_requires_grad(true);
    let conditions = [0_i64, 4].map(|label| model.condition(&Tensor::from_slice(&[label, label])));
    let tokens = model.embed_first(&conditions[0]);
    let logits = |condition: &Tensor| {
        let modulations = model.modulations(condition).unwrap();
        model.run(&tokens, &modulations, &mut Context::TeacherForced(&[1]), None).unwrap()
    };
    assert_eq!(logits(&conditions[0]), logits(&conditions[1]));
    let vectors = portable::normal("vectors", 1, &[2, 20, config.latent_channels as i64]);
    let forward =
        |label: i64| model.forward(&Tensor::from_slice(&[label, label]), &vectors, 3, None).unwrap();
    assert_ne!(forward(0), forward(4));
    forward(0).square().mean(Kind::Float).backward();
    for name in ["blocks.0.ada_gss", "head_nm.ada_gss", "class_emb.weight"] {
        let gradient = model.parameters().get(name).unwrap().grad();
        assert!(gradient.defined() && gradient.abs().sum(Kind::Float).double_value(&[]) > 0.0, "{name}");
    }
    let wrong = TransformerConfig { shared_adaln: true, ..config };
    assert!(wrong.validate().unwrap_err().to_string().contains("shared_adaln needs adaln"));
}
