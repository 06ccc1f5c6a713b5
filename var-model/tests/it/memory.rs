//! Training memory: recomputed blocks, and the estimate beside what libtorch's allocator counts.

use std::process::Command;

use tch::{Device, Kind, Tensor};
use var_model::cost::{TrainingStep, training_memory};
use var_model::transformer::Initialisation;
use var_model::{Transformer, TransformerConfig};
use var_tokenizer::torch::kernels::cross_entropy;
use var_tokenizer::torch::optimizer::{AdamW, Slot, adamw_step, clear_gradients, clip_grad_norm};
use var_tokenizer::torch::{Allocations, start};
use var_tokenizer::weights::portable;

fn config(depth: usize, width: usize, vocabulary: usize) -> TransformerConfig {
    start();
    TransformerConfig {
        width,
        heads: width / 32,
        classes: 10,
        vocabulary,
        latent_channels: 16,
        schedule: "1,2,3,4,6,8".parse().unwrap(),
        order: var_model::Order::NextScale,
        ..TransformerConfig::published(depth)
    }
}

/// Forward and backward of micro-batch `part`, with a branch dropped here and there.
fn backward(model: &Transformer, batch: usize, part: u64) {
    let config = model.config();
    let (b, l) = (batch as i64, config.schedule.tokens() as i64);
    let labels = portable::integers("labels", part, &[b], config.classes as u64);
    let vectors = portable::normal("vectors", part, &[b, l - 1, config.latent_channels as i64]);
    let ids = portable::integers("ids", part, &[b, l], config.vocabulary as u64);
    let masks = portable::integers("masks", part, &[config.depth as i64, 2, b], 4).clamp_max(1) * (4.0 / 3.0);
    let logits = model.forward(&labels, &vectors, config.schedule.scales(), Some(&masks)).unwrap();
    let losses = cross_entropy(&logits.view([b * l, -1]), &ids.reshape([-1]), 0.0).unwrap();
    // Gone before the backward pass, as in training.
    drop(logits);
    losses.loss.mean(Kind::Float).backward();
}

fn model(config: &TransformerConfig, kind: Kind, recompute: bool) -> Transformer {
    let mut model = Transformer::new(config, &Initialisation::default(), Device::Cpu, Some(5)).unwrap();
    portable::fill(model.parameters_mut(), 5);
    model.set_compute_kind(kind);
    model.set_recompute(recompute);
    model.parameters().set_requires_grad(true);
    model
}

#[test]
fn recomputing_blocks_leaves_every_gradient_as_it_is() {
    for (shared, qk_norm, kind) in
        [(false, true, Kind::Float), (true, false, Kind::Float), (false, true, Kind::BFloat16)]
    {
        let config = TransformerConfig { shared_adaln: shared, qk_norm, ..config(3, 32, 24) };
        let gradients = |recompute: bool| {
            let model = model(&config, kind, recompute);
            // Two micro-batches add up.
            backward(&model, 3, 0);
            backward(&model, 3, 1);
            let of = |p: &var_tokenizer::weights::Parameter| (p.name.clone(), p.tensor.grad());
            model.parameters().entries().iter().map(of).collect::<Vec<_>>()
        };
        for ((name, kept), (_, again)) in gradients(false).iter().zip(gradients(true)) {
            assert!(kept.defined() && kept.abs().sum(Kind::Double).double_value(&[]) > 0.0, "{name}");
            assert_eq!(kept, &again, "{name}, shared AdaLN {shared}, {kind:?}");
        }
    }
}

/// The most bytes that a whole training step holds, parameters and moments included.
fn measured(config: &TransformerConfig, step: &TrainingStep) -> f64 {
    let kind = if step.bytes == 2 { Kind::BFloat16 } else { Kind::Float };
    let mut count = Allocations::count().unwrap();
    let model = model(config, kind, step.recompute);
    let parameters: Vec<Tensor> = model.parameters().trainable().map(|p| p.tensor.shallow_clone()).collect();
    let mut slots: Vec<Slot> = parameters.iter().map(Slot::new).collect();
    count.take_most();
    for part in 0..if step.accumulate { 2 } else { 1 } {
        backward(&model, step.batch, part);
    }
    clip_grad_norm(&parameters, 2.0).unwrap();
    adamw_step(&mut slots, &AdamW::default()).unwrap();
    clear_gradients(&parameters).unwrap();
    count.take_most() as f64
}

/// The step that the kernels of this process make.
fn here(step: TrainingStep) -> TrainingStep {
    TrainingStep { fused: std::env::var("VAR_KERNELS").as_deref() != Ok("none"), ..step }
}

#[test]
fn the_estimate_for_operations_of_libtorch_is_within_a_tenth_too() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    let test = "memory::the_estimate_is_within_a_tenth_of_what_is_allocated";
    let output = child.args(["--exact", test]).env("VAR_KERNELS", "none").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
fn the_estimate_is_within_a_tenth_of_what_is_allocated() {
    let cases = [
        (6, 64, 512, TrainingStep::plain(16, 4)),
        (3, 96, 512, TrainingStep::plain(4, 4)),
        (2, 192, 64, TrainingStep { accumulate: true, ..TrainingStep::plain(4, 4) }),
        (4, 64, 2048, TrainingStep { accumulate: true, ..TrainingStep::plain(16, 4) }),
        // Parameters outweigh activations, then the other way round.
        (2, 256, 64, TrainingStep::plain(1, 4)),
        (3, 64, 64, TrainingStep::plain(8, 2)),
    ];
    for (depth, width, vocabulary, plain) in cases {
        let config = config(depth, width, vocabulary);
        for recompute in [false, true] {
            let step = here(TrainingStep { recompute, ..plain });
            let (found, estimate) = (measured(&config, &step), training_memory(&config, &step));
            let off = estimate.total() / found - 1.0;
            assert!(off.abs() < 0.1, "{depth} {width} {step:?}: {found} measured, {estimate:?}");
        }
    }
}

#[test]
fn recomputing_blocks_halves_the_activations_of_six_blocks_and_more() {
    let config = config(6, 64, 64);
    let peak = |recompute| {
        let step = TrainingStep { recompute, ..TrainingStep::plain(8, 4) };
        measured(&config, &step) - 3.0 * 4.0 * var_model::cost::parameters(&config) as f64
    };
    let (kept, again) = (peak(false), peak(true));
    assert!(again < 0.45 * kept, "{again} of {kept}");
}
