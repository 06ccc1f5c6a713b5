//! Every fused kernel against the same thing composed of plain operations in f64: values and gradients.

mod winograd;

use proptest::prelude::*;
use tch::{Device, Kind, Tensor};
use var_tokenizer::torch::kernels::{
    AttentionCache, BlockStep, QueryKey, block_causal_attention, cached_attention, channels_last,
    cross_entropy, gated_add, gelu, group_norm_silu, layer_norm_modulate, linear, most_similar_code,
    nearest_code, upsample_convolution, wide_linear,
};
use var_tokenizer::torch::start;

/// Roughly normal numbers that depend on `seed` alone.
fn noise(shape: &[i64], seed: u64) -> Tensor {
    let count = shape.iter().product::<i64>();
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let mut uniform = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let values: Vec<f32> = (0..count).map(|_| (0..4).map(|_| uniform() - 0.5).sum::<f32>() * 1.7).collect();
    Tensor::from_slice(&values).reshape(shape)
}

/// ‖a − b‖ / ‖b‖, where ‖b‖ counts as `least` at least. Infinite if a value is not a number: the larger of a number and NaN
/// is the number.
fn distance_from(a: &Tensor, b: &Tensor, least: f64) -> f64 {
    let (a, b) = (a.to_kind(Kind::Double), b.to_kind(Kind::Double));
    assert_eq!(a.size(), b.size());
    let norm = |t: &Tensor| t.norm().double_value(&[]);
    let distance = norm(&(&a - &b)) / norm(&b).max(least);
    if distance.is_nan() { f64::INFINITY } else { distance }
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    distance_from(a, b, 1e-6)
}

/// Leaves NaN in the memory that the next tensors and scratch buffers get, so that a value that was never written shows.
fn poison() {
    // Small ones are in the heap, large ones in the pool.
    let numbers = [1 << 8, 1 << 12, 1 << 14, 1 << 16, 250_000, 1 << 22];
    let made: Vec<Tensor> = numbers
        .iter()
        .flat_map(|&n| std::iter::repeat_n(n, 8))
        .map(|n| Tensor::full([n], f64::NAN, (Kind::Float, Device::Cpu)))
        .collect();
    drop(made);
}

/// Largest distance of `fused` on `inputs` from `plain` on the same in f64, over value and gradients.
fn error_of(
    inputs: &[Tensor],
    fused: impl Fn(&[Tensor]) -> Tensor,
    plain: impl Fn(&[Tensor]) -> Tensor,
) -> f64 {
    start();
    let leaf = |t: Tensor| if t.is_floating_point() { t.set_requires_grad(true) } else { t };
    let ours: Vec<Tensor> = inputs.iter().map(|t| leaf(t.detach().copy())).collect();
    let theirs: Vec<Tensor> = inputs
        .iter()
        .map(|t| {
            leaf(if t.is_floating_point() { t.detach().to_kind(Kind::Double) } else { t.shallow_clone() })
        })
        .collect();
    let reference = plain(&theirs);
    poison();
    let y = fused(&ours);
    let mut worst = distance(&y.detach(), &reference.detach());
    let grad = noise(&y.size(), 99).to_kind(y.kind());
    let product = (&y * &grad).sum(Kind::Double);
    poison();
    product.backward();
    (&reference * grad.to_kind(Kind::Double)).sum(Kind::Double).backward();
    for (a, b) in ours.iter().zip(&theirs).filter(|(a, _)| a.is_floating_point()) {
        // A gradient may vanish by cancellation: what is left of it is rounding.
        worst = worst.max(distance_from(&a.grad(), &b.grad(), 1.0));
    }
    worst
}

fn tolerance(kind: Kind) -> f64 {
    if kind == Kind::BFloat16 { 1.5e-2 } else { 3e-5 }
}

fn kinds() -> impl Strategy<Value = Kind> {
    prop_oneof![Just(Kind::Float), Just(Kind::BFloat16)]
}

fn masked_attention(qkv: &Tensor, heads: i64, ends: &[i64], factors: &Tensor, normalise: bool) -> Tensor {
    let (batch, length, width) = qkv.size3().unwrap();
    let parts = qkv.view([batch, length, 3, heads, width / 3 / heads]).permute([2, 0, 3, 1, 4]).unbind(0);
    let unit = |t: &Tensor| {
        if normalise { t / t.norm_scalaropt_dim(2.0, [-1_i64].as_slice(), true) } else { t.shallow_clone() }
    };
    let q = unit(&parts[0]) * factors.view([1, heads, 1, 1]);
    let seen: Vec<i64> = (0..length).map(|i| *ends.iter().find(|end| **end > i).unwrap()).collect();
    let keys = Tensor::arange(length, (Kind::Int64, Device::Cpu));
    let hidden = keys.unsqueeze(0).ge_tensor(&Tensor::from_slice(&seen).unsqueeze(1));
    let scores = q.matmul(&unit(&parts[1]).transpose(2, 3)).masked_fill(&hidden, f64::NEG_INFINITY);
    scores.softmax(-1, None).matmul(&parts[2]).transpose(1, 2).reshape([batch, length, width / 3])
}

fn ends_of(sides: &[i64]) -> Vec<i64> {
    sides
        .iter()
        .scan(0, |sum, s| {
            *sum += s * s;
            Some(*sum)
        })
        .collect()
}

/// Ends of scales: squares, any lengths, or one token each (raster order).
fn ends() -> impl Strategy<Value = Vec<i64>> {
    prop_oneof![
        proptest::collection::vec(1..9_i64, 1..5).prop_map(|sides| ends_of(&sides)),
        proptest::collection::vec(1..90_i64, 1..5).prop_map(|lengths| {
            lengths
                .iter()
                .scan(0, |sum, n| {
                    *sum += n;
                    Some(*sum)
                })
                .collect()
        }),
        (1..150_i64).prop_map(|length| (1..=length).collect()),
    ]
}

/// Cases a property: `PROPTEST_CASES`, else a few.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(24)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn group_norm_silu_is_group_norm_then_silu(
        (batch, groups, members) in (1..4_i64, 1..9_i64, 1..9_i64),
        (height, width) in (1..28_i64, 2..28_i64),
        (silu, adjacent, offset) in (any::<bool>(), any::<bool>(), -3.0..3.0_f64),
        kind in kinds(), seed in any::<u64>(),
    ) {
        let channels = groups * members;
        let x = (noise(&[batch, channels, height, width], seed) + offset).to_kind(kind);
        let x = if adjacent { channels_last(&x).unwrap() } else { x };
        let (w, b) = (noise(&[channels], seed ^ 1), noise(&[channels], seed ^ 2));
        let error = error_of(&[x, w, b],
            |t| group_norm_silu(&t[0], &t[1], &t[2], groups, 1e-4, silu, t[0].kind()).unwrap(),
            |t| {
                let y = t[0].group_norm(groups, Some(&t[1]), Some(&t[2]), 1e-4, false);
                if silu { y.silu() } else { y }
            });
        prop_assert!(error < tolerance(kind), "{error}");
    }

    #[test]
    fn layer_norm_modulate_is_layer_norm_scaled_and_shifted(
        // Rows of a few numbers may all but vanish, and their gradient with them.
        (batch, length, width) in (1..4_i64, 1..300_i64, 16..70_i64),
        kind in kinds(), out in kinds(), seed in any::<u64>(),
    ) {
        let x = noise(&[batch, length, width], seed).to_kind(kind);
        let (scale, shift) = (noise(&[batch, 1, width], seed ^ 1), noise(&[batch, 1, width], seed ^ 2));
        let error = error_of(&[x, scale, shift],
            |t| layer_norm_modulate(&t[0], &t[1], &t[2], 1e-4, out).unwrap(),
            |t| t[0].layer_norm::<Tensor>([width], None, None, 1e-4, false) * (&t[1] + 1.0) + &t[2]);
        prop_assert!(error < tolerance(kind).max(tolerance(out)), "{error}");
    }

    #[test]
    fn gated_add_is_a_gated_sum(
        (batch, length, width) in (1..4_i64, 1..300_i64, 1..70_i64),
        kind in kinds(), branch in kinds(), seed in any::<u64>(),
    ) {
        let x = noise(&[batch, length, width], seed).to_kind(kind);
        let y = noise(&[batch, length, width], seed ^ 1).to_kind(branch);
        let error = error_of(&[x, y, noise(&[batch, 1, width], seed ^ 2)],
            |t| gated_add(&t[0], &t[1], &t[2]).unwrap(), |t| &t[0] + &t[1] * &t[2]);
        prop_assert!(error < tolerance(kind).max(tolerance(branch)), "{error}");
    }

    #[test]
    fn gelu_is_the_tanh_form(count in 1..70_000_i64, kind in kinds(), seed in any::<u64>()) {
        let x = (noise(&[count], seed) * 3.0).to_kind(kind);
        let error = error_of(&[x], |t| gelu(&t[0]).unwrap(), |t| t[0].gelu("tanh"));
        prop_assert!(error < tolerance(kind), "{error}");
    }

    #[test]
    fn cross_entropy_is_the_plain_one(
        (rows, classes) in (1..60_i64, 2..700_i64), smoothing in prop_oneof![Just(0.0), 0.0..0.5_f64],
        kind in kinds(), seed in any::<u64>(),
    ) {
        let logits = (noise(&[rows, classes], seed) * 4.0).to_kind(kind);
        let targets = (noise(&[rows], seed ^ 1).abs() * 1e4).to_kind(Kind::Int64).remainder(classes);
        let error = error_of(&[logits.shallow_clone(), targets.shallow_clone()],
            |t| cross_entropy(&t[0], &t[1], smoothing).unwrap().loss,
            |t| t[0].cross_entropy_loss::<Tensor>(&t[1], None, tch::Reduction::None, -100, smoothing));
        prop_assert!(error < tolerance(kind), "{error}");
        let hits = cross_entropy(&logits, &targets, smoothing).unwrap().hit;
        let plain = logits.gather(1, &targets.unsqueeze(1), false).squeeze_dim(1).eq_tensor(&logits.amax([1], false));
        prop_assert_eq!(hits, plain.to_kind(Kind::Float));
    }

    #[test]
    fn block_causal_attention_is_masked_attention(
        (batch, heads, dim) in (1..3_i64, 1..4_i64, 1..140_i64), ends in ends(),
        normalise in any::<bool>(), kind in kinds(), seed in any::<u64>(),
    ) {
        let qkv = noise(&[batch, ends[ends.len() - 1], 3 * heads * dim], seed).to_kind(kind);
        // One channel normalised is a sign: it has no gradient to compare.
        prop_assume!(!normalise || dim > 1);
        let mut inputs = vec![qkv];
        if normalise {
            inputs.push(noise(&[heads], seed ^ 1).abs() * 4.0);
        }
        let error = error_of(&inputs,
            |t| {
                let mode = t.get(1).map_or(QueryKey::Scaled(0.2), QueryKey::Normalised);
                block_causal_attention(&t[0], heads, &ends, mode).unwrap()
            },
            |t| {
                let constant = Tensor::full([heads], 0.2, (Kind::Double, Device::Cpu));
                masked_attention(&t[0], heads, &ends, t.get(1).unwrap_or(&constant), normalise)
            });
        // The gradient of a head's factor is a small difference of large sums.
        let tolerance = if kind == Kind::Float { 3e-5 } else { 0.1 };
        prop_assert!(error < tolerance, "{error}");
    }

    #[test]
    fn linear_is_linear(
        // From 2048 rows on, bfloat16 has loops of its own.
        (rows, inputs, outputs) in (prop_oneof![1..200_i64, 1024..1400_i64], 1..200_i64, 1..200_i64),
        kind in kinds(), biased in any::<bool>(), seed in any::<u64>(),
    ) {
        let x = noise(&[2, rows, inputs], seed).to_kind(kind);
        let (w, b) = (noise(&[outputs, inputs], seed ^ 1), noise(&[outputs], seed ^ 2));
        let all = if biased { vec![x, w, b] } else { vec![x, w] };
        let error = error_of(&all,
            |t| linear(&t[0], &t[1], t.get(2)).unwrap(), |t| t[0].linear(&t[1], t.get(2)));
        prop_assert!(error < tolerance(kind), "{error}");
    }

    #[test]
    fn wide_linear_rounds_its_factors_and_nothing_else(
        (rows, inputs, outputs) in (prop_oneof![1..60_i64, 1024..1400_i64], 1..200_i64, 1..200_i64), kind in kinds(), seed in any::<u64>(),
    ) {
        // Values of the brief kind: their products and sums are exact to f32.
        let rounded = |t: Tensor| t.to_kind(kind).to_kind(Kind::Float);
        let all = [noise(&[2, rows, inputs], seed).to_kind(kind), rounded(noise(&[outputs, inputs], seed ^ 1)),
            noise(&[outputs], seed ^ 2)];
        let found = wide_linear(&all[0], &all[1], &all[2]).unwrap();
        let double = |t: &Tensor| t.to_kind(Kind::Double);
        let expected = double(&all[0]).linear(&double(&all[1]), Some(&double(&all[2])));
        prop_assert!(found.kind() == Kind::Float && distance_from(&found, &expected, 1e-3) < 1e-5);
        let error = error_of(&all,
            |t| wide_linear(&t[0], &t[1], &t[2]).unwrap(), |t| t[0].linear(&t[1], t.get(2)));
        prop_assert!(error < tolerance(kind), "{error}");
    }

    #[test]
    fn linear_of_a_few_rows_without_gradients_is_linear(
        (rows, inputs, outputs) in (1..12_i64, 1..300_i64, 1..80_i64),
        kind in kinds(), biased in any::<bool>(), seed in any::<u64>(),
    ) {
        start();
        let x = noise(&[rows, inputs], seed).to_kind(kind);
        let (w, b) = (noise(&[outputs, inputs], seed ^ 1).to_kind(kind), noise(&[outputs], seed ^ 2));
        let bias = biased.then_some(&b);
        let found = linear(&x, &w, bias).unwrap();
        let double = |t: &Tensor| t.to_kind(Kind::Double);
        let expected = double(&x).linear(&double(&w), bias.map(double).as_ref());
        let least = if kind == Kind::BFloat16 { 0.1 } else { 1e-3 };
        let error = distance_from(&found, &expected, least);
        prop_assert!(found.kind() == kind && error < tolerance(kind), "{error}");
    }

    #[test]
    fn a_block_step_is_its_operations_to_the_bit(
        (batch, length, heads, dim) in (1..4_i64, 1..4_i64, 1..4_i64, 1..40_i64),
        kind in kinds(), normalise in any::<bool>(), seed in any::<u64>(),
    ) {
        start();
        let _no_grad = tch::no_grad_guard();
        let (c, hidden) = (heads * dim, 3 * heads * dim + 1);
        let layer = |n: i64, k: i64, i: u64| {
            ((noise(&[n, k], seed ^ i) * 0.3).to_kind(kind), noise(&[n], seed ^ (i + 1)))
        };
        let layers = [layer(3 * c, c, 1), layer(c, c, 3), layer(hidden, c, 5), layer(c, hidden, 7)];
        let modulation: Vec<Tensor> = (0..6).map(|i| noise(&[batch, 1, c], seed ^ (20 + i))).collect();
        let [g1, g2, scale1, scale2, shift1, shift2] = modulation.as_slice() else { unreachable!() };
        let [qkv, projection, expand, contract] = layers.each_ref().map(|(weight, bias)| (weight, bias));
        let modulation = [g1, g2, scale1, scale2, shift1, shift2];
        let step = BlockStep { modulation, qkv, projection, expand, contract, heads, epsilon: 1e-6 };
        let factors = Tensor::full([heads], 3.0, (Kind::Float, Device::Cpu));
        let mode = if normalise { QueryKey::Normalised(&factors) } else { QueryKey::Scaled(0.2) };
        let new_cache = || AttentionCache::new(batch, heads, 2 * length, dim, (kind, Device::Cpu)).unwrap();
        let (mut ours, mut theirs) = (new_cache(), new_cache());
        for k in 0..2 {
            let x = noise(&[batch, length, c], seed ^ (40 + k));
            let fits = step.fits(&x, kind);
            let fused = std::env::var("VAR_KERNELS").as_deref() != Ok("none");
            prop_assert_eq!(fits, fused && batch * length <= 8);
            if !fits {
                return Ok(());
            }
            let found = step.run(&x, &mut ours, mode).unwrap();
            let input = layer_norm_modulate(&x, scale1, shift1, 1e-6, kind).unwrap();
            let packed = linear(&input, qkv.0, Some(qkv.1)).unwrap();
            let mixed = cached_attention(&packed, heads, &mut theirs, mode).unwrap();
            let output = linear(&mixed, projection.0, Some(projection.1)).unwrap();
            let y = gated_add(&x, &output, g1).unwrap();
            let input = layer_norm_modulate(&y, scale2, shift2, 1e-6, kind).unwrap();
            let wide = gelu(&linear(&input, expand.0, Some(expand.1)).unwrap()).unwrap();
            let y = gated_add(&y, &linear(&wide, contract.0, Some(contract.1)).unwrap(), g2).unwrap();
            prop_assert_eq!(found, y);
            prop_assert_eq!(ours.len(), (k as i64 + 1) * length);
        }
        let full = step.run(&noise(&[batch, length, c], seed), &mut ours, mode);
        prop_assert!(full.is_err() && ours.len() == 2 * length, "the cache is full");
    }

    #[test]
    fn upsample_convolution_is_upsampling_then_convolution(
        (batch, inputs, outputs) in (1..3_i64, 1..9_i64, 1..9_i64),
        (height, width) in (1..40_i64, 1..40_i64), kind in kinds(), seed in any::<u64>(),
    ) {
        let x = noise(&[batch, inputs, height, width], seed).to_kind(kind);
        let (w, b) = (noise(&[outputs, inputs, 3, 3], seed ^ 1), noise(&[outputs], seed ^ 2));
        let error = error_of(&[x, w, b],
            |t| upsample_convolution(&t[0], &t[1], &t[2]).unwrap(),
            |t| t[0].upsample_nearest2d([2 * height, 2 * width], None, None)
                .conv2d(&t[1], Some(&t[2]), [1, 1], [1, 1], [1, 1], 1));
        // libtorch sums weight gradients over all pixels in f32.
        prop_assert!(error < tolerance(kind).max(2e-4), "{error}");
    }

    #[test]
    fn nearest_code_has_the_least_distance(
        (count, codes, channels) in (1..80_i64, 1..300_i64, 1..40_i64), seed in any::<u64>(),
    ) {
        start();
        let (z, e) = (noise(&[count, channels], seed), noise(&[codes, channels], seed ^ 1));
        let distances = (z.unsqueeze(1) - e.unsqueeze(0)).to_kind(Kind::Double).square()
            .sum_dim_intlist([-1_i64].as_slice(), false, Kind::Double);
        let ids = nearest_code(&z, &e).unwrap();
        let excess = distances.gather(1, &ids.unsqueeze(1), false).squeeze_dim(1) - distances.amin([1], false);
        prop_assert!(excess.max().double_value(&[]) < 1e-4);
    }

    #[test]
    fn most_similar_code_has_the_largest_product(
        (count, codes, channels) in (1..80_i64, 1..300_i64, 1..40_i64), seed in any::<u64>(),
    ) {
        start();
        let (z, e) = (noise(&[count, channels], seed), noise(&[codes, channels], seed ^ 1));
        let products = z.to_kind(Kind::Double).matmul(&e.to_kind(Kind::Double).tr());
        let ids = most_similar_code(&z, &e).unwrap();
        let lack = products.amax([1], false) - products.gather(1, &ids.unsqueeze(1), false).squeeze_dim(1);
        prop_assert!(lack.max().double_value(&[]) < 1e-4);
    }
}

#[test]
fn codes_of_nearly_equal_cosine_are_told_apart() {
    start();
    // The products are 1 and 1 − 2⁻²⁴; beside the lengths, near 2, the difference would be lost.
    let codes = Tensor::from_slice(&[1.0_f32 - 1.0 / 16_777_216.0, 1.0]).unsqueeze(1);
    let ids = most_similar_code(&Tensor::from_slice(&[1.0_f32]).unsqueeze(1), &codes).unwrap();
    assert_eq!(Vec::<i64>::try_from(ids).unwrap(), [1]);
}

#[test]
fn the_first_of_equal_codes_is_nearest() {
    start();
    let codes = Tensor::from_slice(&[5.0_f32, 1.0, 1.0, 1.0]).unsqueeze(1).repeat([40, 1]);
    let ids = nearest_code(&Tensor::from_slice(&[0.9_f32, 5.0]).unsqueeze(1), &codes).unwrap();
    assert_eq!(Vec::<i64>::try_from(ids).unwrap(), [1, 0]);
}

#[test]
fn attention_out_of_a_cache_is_block_causal_attention() {
    start();
    let _no_grad = tch::no_grad_guard();
    let (heads, dim, ends) = (3, 24, ends_of(&[1, 2, 3, 5]));
    for kind in [Kind::Float, Kind::BFloat16] {
        let qkv = noise(&[2, ends[3], 3 * heads * dim], 5).to_kind(kind);
        let factors = Tensor::from_slice(&[1.0_f32, 4.0, 9.0]);
        for mode in [QueryKey::Normalised(&factors), QueryKey::Scaled(0.3)] {
            let whole = block_causal_attention(&qkv, heads, &ends, mode).unwrap();
            let mut cache = AttentionCache::new(2, heads, ends[3], dim, (kind, Device::Cpu)).unwrap();
            let mut begin = 0;
            for &end in &ends {
                let scale =
                    cached_attention(&qkv.narrow(1, begin, end - begin), heads, &mut cache, mode).unwrap();
                let error = distance(&scale, &whole.narrow(1, begin, end - begin));
                assert!(error < tolerance(kind), "{error}");
                begin = end;
            }
            assert!(cached_attention(&qkv, heads, &mut cache, mode).is_err(), "the cache is full");
            assert_eq!(cache.len(), ends[3]);
        }
    }
}

#[test]
fn kernels_give_the_same_bits_whatever_the_number_of_threads() {
    start();
    let run = || {
        let leaf = |t: Tensor| t.set_requires_grad(true);
        let x = leaf(noise(&[4, 64, 24, 24], 1));
        let (w, b) = (leaf(noise(&[64], 2)), leaf(noise(&[64], 3)));
        let y = group_norm_silu(&x, &w, &b, 32, 1e-6, true, x.kind()).unwrap();
        let rows = y.flatten(2, 3).transpose(1, 2).contiguous();
        let (scale, shift) = (leaf(noise(&[4, 1, 64], 4)), leaf(noise(&[4, 1, 64], 5)));
        let rows = layer_norm_modulate(&rows, &scale, &shift, 1e-6, Kind::BFloat16).unwrap();
        let qkv = Tensor::cat(&[&rows, &rows, &rows], 2);
        let factors = leaf(Tensor::from_slice(&[3.0_f32, 4.0]));
        let mixed = block_causal_attention(&qkv, 2, &[1, 50, 576], QueryKey::Normalised(&factors)).unwrap();
        let rows = gated_add(&rows, &gelu(&mixed).unwrap(), &shift).unwrap().view([-1, 64]);
        let (inner, outer) = (leaf(noise(&[150, 64], 6)), leaf(noise(&[64, 150], 7)));
        let rows = wide_linear(&linear(&rows, &inner, None).unwrap(), &outer, &b).unwrap();
        let targets = Tensor::arange(rows.size()[0], (Kind::Int64, Device::Cpu)).remainder(64);
        let loss = cross_entropy(&rows, &targets, 0.1).unwrap().loss.sum(Kind::Float);
        loss.backward();
        let mut all = vec![loss.detach()];
        all.extend([&x, &w, &b, &scale, &shift, &factors, &inner, &outer].iter().map(|t| t.grad()));
        all
    };
    let threads = tch::get_num_threads();
    let first = run();
    for n in [1, 2, 3, threads] {
        tch::set_num_threads(n);
        assert_eq!(run(), first, "{n} threads");
    }
}

#[test]
fn input_that_does_not_fit_is_an_error() {
    start();
    let x = noise(&[2, 6, 4, 4], 1);
    let (w, row) = (noise(&[6], 2), noise(&[2, 1, 5], 3));
    let tokens = noise(&[2, 3, 6], 4);
    assert!(group_norm_silu(&x, &w, &w, 4, 1e-6, true, x.kind()).is_err(), "six channels in four groups");
    assert!(layer_norm_modulate(&tokens, &row, &row, 1e-6, Kind::Float).is_err());
    assert!(gated_add(&tokens, &x, &row).is_err());
    assert!(linear(&tokens, &noise(&[4, 5], 5), None).is_err());
    assert!(upsample_convolution(&x, &noise(&[4, 5, 3, 3], 5), &noise(&[4], 6)).is_err());
    assert!(nearest_code(&tokens, &tokens).is_err());
    for ends in [vec![], vec![2], vec![2, 1, 3], vec![0, 3], vec![1, 4]] {
        assert!(block_causal_attention(&tokens, 2, &ends, QueryKey::Scaled(1.0)).is_err(), "{ends:?}");
    }
    assert!(block_causal_attention(&tokens, 4, &[3], QueryKey::Scaled(1.0)).is_err());
    for target in [-1_i64, 6] {
        let targets = Tensor::from_slice(&[0, target]);
        let message = cross_entropy(&noise(&[2, 6], 7), &targets, 0.0).unwrap_err().to_string();
        assert!(!message.contains('\n'), "{message}");
    }
}

#[test]
fn attention_of_heads_beyond_the_fused_width_is_masked_attention_too() {
    start();
    // As on a GPU: libtorch's own operations, with one call when every token is a step.
    let qkv = noise(&[2, 6, 3 * 1040], 3) * 0.3;
    let factors = Tensor::full([1], 0.2, (Kind::Float, Device::Cpu));
    for ends in [&[1, 2, 3, 4, 5, 6][..], &[1, 6]] {
        let found = block_causal_attention(&qkv, 1, ends, QueryKey::Scaled(0.2)).unwrap();
        let off = (found - masked_attention(&qkv, 1, ends, &factors, false)).abs().max().double_value(&[]);
        assert!(off < 1e-4, "{off} {ends:?}");
    }
}
