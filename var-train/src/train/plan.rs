//! The plan of a run: parameters, steps, FLOPs, memory and time, without training.

use tch::{Device, Kind};
use var_model::TransformerConfig;
use var_model::cost::{self, TrainingStep};
use var_tokenizer::torch::{Precision, product_peak};
use var_tokenizer::{TokenizerConfig, memory};

use crate::error::Result;
use crate::records::{Estimate, ModelPlan, TokenizerPlan};
use crate::settings::{ModelRun, TokenizerRun, Training};
use crate::tokenizer::Pictures;
use crate::tokenizer::perceptual::Perceptual;

/// Share of the measured rate of a matrix product that training is assumed to reach.
const SHARE: f64 = 0.5;

/// The extent of a transformer's run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    /// Trainable parameters.
    pub parameters: u64,
    /// Optimizer steps.
    pub steps: u64,
    /// Training images, repeats included.
    pub images: u64,
    /// Training tokens, repeats included.
    pub tokens: u64,
    /// Training FLOPs.
    pub flops: f64,
    /// Images per micro-batch and rank.
    pub micro: usize,
    /// Sides of the largest matrix product of a step, by which the precision is chosen.
    pub product: [i64; 3],
}

impl Extent {
    pub fn new(config: &TransformerConfig, training: &Training, steps: u64, ranks: usize) -> Self {
        let micro = training.batch / training.accumulation / ranks;
        let (images, length) = (steps * training.batch as u64, config.schedule.tokens());
        Self {
            parameters: cost::parameters(config),
            steps,
            images,
            tokens: images.saturating_mul(length as u64),
            flops: cost::training_flops(config) * images as f64,
            micro,
            product: [(micro * length) as i64, config.width as i64, 4 * config.width as i64],
        }
    }
}

/// The machine of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Machine {
    /// The device.
    pub device: Device,
    /// The kind of the products.
    pub compute: Kind,
    /// Number of ranks.
    pub ranks: usize,
    /// Whether the optimizer's moments are divided over the ranks.
    pub zero: bool,
}

/// The plan of a transformer's run on `rows` training and held-out rows, with tokens of `tokenizer`.
pub(super) fn of_model(
    settings: &ModelRun,
    config: &TransformerConfig,
    tokenizer: &TokenizerConfig,
    extent: Extent,
    machine: Machine,
    [train_rows, val_rows]: [usize; 2],
) -> Result<ModelPlan> {
    let Extent { parameters, steps, tokens, flops, micro, .. } = extent;
    let Machine { device, compute, ranks, zero } = machine;
    let network = &settings.model;
    let memory = |recompute| {
        let step = TrainingStep {
            accumulate: settings.training.accumulation > 1,
            recompute,
            average: network.ema > 0.0,
            ranks: if zero { ranks } else { 1 },
            fused: device == Device::Cpu,
            ..TrainingStep::plain(micro, compute.elt_size_in_bytes())
        };
        // A backward pass that averages gradients copies them into buckets.
        let buckets = if ranks > 1 && !zero { 4.0 * parameters as f64 } else { 0.0 };
        cost::training_memory(config, &step).total() + buckets
    };
    // While the tokenizer is read, memory holds its tensors and its file. While a checkpoint is saved, rank 0 holds the
    // moments of all ranks and its own share.
    let loading = 2.0 * 4.0 * var_tokenizer::cost::parameters(tokenizer) as f64;
    let moments = if ranks > 1 && zero { 8.0 + 8.0 / ranks as f64 } else { 8.0 };
    let saving = (4.0 + moments + if network.ema > 0.0 { 4.0 } else { 0.0 }) * parameters as f64;
    let most = memory(network.recompute).max(loading).max(saving);
    Ok(ModelPlan {
        parameters,
        steps,
        tokens,
        flops,
        memory_bytes: memory(network.recompute),
        memory_bytes_without_recompute: memory(false),
        memory_bytes_with_recompute: memory(true),
        train_rows,
        val_rows,
        estimate: estimate(flops, most, device, compute)?,
    })
}

/// Forward passes that cost as much as a step of a perceptual loss: original, reconstruction, and backward by the
/// reconstruction.
const PERCEPTUAL_PASSES: f64 = 3.0;
/// The same for a discriminator: forward and backward by the reconstruction; then forward and backward over originals and
/// reconstructions, by images and weights.
const ADVERSARY_PASSES: f64 = 2.0 + 2.0 * 3.0;
/// Those of the consistency of logits.
const CONSISTENCY_PASSES: f64 = 2.0 * 3.0;

/// The plan of a tokenizer's run of `steps` steps with this perceptual loss, on these training and held-out images.
pub(super) fn of_tokenizer(
    settings: &TokenizerRun,
    perceptual: Option<&Perceptual>,
    steps: u64,
    machine: Machine,
    parts: [&Pictures; 2],
) -> Result<TokenizerPlan> {
    let TokenizerRun { training, tokenizer: config, adversary, recipe, .. } = settings;
    let Machine { device, compute, ranks, zero } = machine;
    let images = steps.saturating_mul(training.batch as u64);
    let micro = training.batch / training.accumulation / ranks;
    let parameters = var_tokenizer::cost::parameters(config);
    let mut flops = var_tokenizer::cost::training_flops(config) * images as f64;
    let mut memory_bytes = var_tokenizer::cost::training_memory(config, micro, compute.elt_size_in_bytes());
    let (mut fixed, mut kept) = (0.0_f64, 0.0_f64);
    if let Some(network) = perceptual {
        let cost = network.cost(config.image_side())?;
        flops +=
            PERCEPTUAL_PASSES * cost.flops * settings.perceptual.steps_with(steps) * training.batch as f64;
        fixed += 4.0 * cost.parameters as f64;
        kept = 4.0 * (micro * cost.kept) as f64;
    }
    if adversary.is_on() {
        let cost = adversary.shape().cost(config.image_side());
        let consistent = adversary.consistency > 0.0;
        let passes = ADVERSARY_PASSES + if consistent { CONSISTENCY_PASSES } else { 0.0 };
        flops += passes * cost.flops * adversary.steps_with(steps) * training.batch as f64;
        fixed += 16.0 * cost.parameters as f64;
        let copies = if consistent { 4 } else { 2 };
        kept = kept.max(4.0 * (copies * micro * cost.kept) as f64);
    }
    if recipe.ema > 0.0 {
        fixed += 4.0 * parameters as f64;
    }
    if ranks > 1 {
        // Buckets of averaged gradients, or moments that the ranks divide.
        fixed += if zero { 8.0 / ranks as f64 - 8.0 } else { 4.0 } * parameters as f64;
    }
    memory_bytes += fixed + kept;
    let decoded: usize = parts.iter().map(|part| part.decoded_bytes()).sum();
    let [train_pictures, val_pictures] = parts.map(Pictures::len);
    Ok(TokenizerPlan {
        parameters,
        steps,
        images,
        flops,
        memory_bytes,
        train_pictures,
        val_pictures,
        estimate: estimate(flops, memory_bytes + decoded as f64, device, compute)?,
    })
}

/// Memory of the process with at most `tensors` bytes of tensors, and the time for `flops`. Measures the rate of a matrix
/// product.
fn estimate(flops: f64, tensors: f64, device: Device, compute: Kind) -> Result<Estimate> {
    let rate = SHARE * product_peak(device, compute)?;
    Ok(Estimate {
        process_bytes: (device == Device::Cpu).then(|| memory::of_process(tensors)),
        precision: Precision::name_of(compute).into(),
        assumed_flops_per_second: rate,
        estimated_seconds: flops / rate,
    })
}
