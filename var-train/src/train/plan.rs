//! The plan of a run: parameters, steps, FLOPs, memory and time, without training.

use tch::{Device, Kind};
use var_model::TransformerConfig;
use var_model::cost::{self, TrainingStep};
use var_tokenizer::torch::{Precision, product_peak};
use var_tokenizer::{TokenizerConfig, memory};

use crate::error::Result;
use crate::records::{Estimate, ModelPlan, TokenizerPlan};
use crate::settings::{ModelRun, Training};

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

/// The plan of a tokenizer's run of `steps` steps on `pictures` training and held-out images.
pub(super) fn of_tokenizer(
    training: &Training,
    config: &TokenizerConfig,
    steps: u64,
    (device, compute): (Device, Kind),
    [train_pictures, val_pictures]: [usize; 2],
) -> Result<TokenizerPlan> {
    let images = steps.saturating_mul(training.batch as u64);
    let flops = var_tokenizer::cost::training_flops(config) * images as f64;
    let micro = training.batch / training.accumulation;
    let memory_bytes = var_tokenizer::cost::training_memory(config, micro, compute.elt_size_in_bytes());
    Ok(TokenizerPlan {
        parameters: var_tokenizer::cost::parameters(config),
        steps,
        images,
        flops,
        memory_bytes,
        train_pictures,
        val_pictures,
        estimate: estimate(flops, memory_bytes, device, compute)?,
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
