//! Memory of a training step, computed from the configuration: tensors, as libtorch's allocator counts them.
//!
//! The formula counts, kernel by kernel, what is kept for the backward pass: by the fused kernels on a processor
//! (`var-tokenizer/src/runtime/torch/kernels`), or by the operations of libtorch that replace them on a GPU. The program
//! itself (about 300 MB), workspaces of libraries, and memory that the allocator does not return are not included. Tests
//! hold both totals within a tenth of the allocator's count on a processor.

use serde::Serialize;

use super::parameters;
use crate::config::{MLP_RATIO, TransformerConfig};

/// The settings of a training step that its memory depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainingStep {
    /// Images of a micro-batch.
    pub batch: usize,
    /// Bytes per element of an activation in the branches: 4 for `f32`, 2 for `bf16`.
    pub bytes: usize,
    /// Several micro-batches per step: gradients and activations are in memory together.
    pub accumulate: bool,
    /// The backward pass computes blocks again, see [`crate::Transformer::set_recompute`].
    pub recompute: bool,
    /// Number of processes that divide the optimizer's state (ZeRO-1); 1: not divided.
    pub ranks: usize,
    /// Whether a moving average of the weights is kept.
    pub average: bool,
    /// Whether the fused kernels of a processor compute; on a GPU, operations of libtorch keep more.
    pub fused: bool,
}

impl TrainingStep {
    /// One micro-batch of `batch` images on a processor, nothing recomputed, shared or averaged.
    pub fn plain(batch: usize, bytes: usize) -> Self {
        Self { batch, bytes, accumulate: false, recompute: false, ranks: 1, average: false, fused: true }
    }
}

/// Memory of training in bytes, by purpose.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TrainingMemory {
    /// Parameters in `f32`.
    pub parameters: f64,
    /// Gradients in `f32`.
    pub gradients: f64,
    /// Both moments of AdamW in `f32`: the share of this process.
    pub optimizer: f64,
    /// The moving average of the weights in `f32`.
    pub average: f64,
    /// Peak of everything else in the forward and backward pass: tensors kept for the backward pass, and tensors in use
    /// at that moment.
    pub activations: f64,
    /// The peak of all. It can be less than the sum, because activations are freed while gradients are made.
    pub peak: f64,
}

impl TrainingMemory {
    /// The peak, in bytes.
    pub fn total(&self) -> f64 {
        self.peak
    }
}

/// Memory in bytes of one training step.
pub fn training_memory(config: &TransformerConfig, step: &TrainingStep) -> TrainingMemory {
    let n = 4.0 * parameters(config) as f64;
    let (c, e, depth) = (config.width as f64, step.bytes as f64, config.depth as f64);
    let rows = step.batch as f64 * config.schedule.tokens() as f64;
    let (mlp, vocabulary) = (MLP_RATIO as f64, config.vocabulary as f64);

    // Kept per token and block. In the compute type: the input of qkv, packed qkv, attention's output, its
    // projection; the input of the feed-forward part, the hidden layer before and after GELU, the output. In f32:
    // the stream before each branch, two statistics of each norm, a sum of each head's softmax.
    let stream = 4.0 * c;
    let mut kept =
        e * c * (1.0 + 3.0 + 1.0 + 1.0 + 1.0 + 2.0 * mlp + 1.0) + stream + 16.0 + 4.0 * config.heads as f64;
    if !step.fused {
        // Both norms before scale and shift in f32; queries and keys as they are multiplied.
        kept += 2.0 * stream + e * c * if config.qk_norm { 2.0 } else { 1.0 };
    }
    // Matrices cast to the compute type stay until the backward pass: the block's own, and its AdaLN. (Products of many
    // rows on a processor with bf16 products need no copy; which processor computes is not known here.)
    let cast = |matrices: f64| if step.bytes < 4 { e * matrices * c * c } else { 0.0 };
    let block_cast = cast(4.0 + 2.0 * mlp);
    let adaln_cast = match (config.adaln, config.shared_adaln) {
        (false, _) => 0.0,
        (true, true) => cast(6.0),
        (true, false) => cast(6.0) * depth,
    };
    // Six parts of AdaLN per image and block, with copies of the scales and gates, and their gradients.
    let modulation = step.batch as f64 * depth * c * (6.0 * (4.0 + e) + 4.0 * 4.0);
    // Vectors before and after standardisation, ids, losses.
    let ends = rows * (2.0 * 4.0 * config.latent_channels as f64 + 3.0 * 8.0) + modulation + adaln_cast;
    // The stream after the last block, normalised.
    let head = if step.fused { 2.0 } else { 3.0 } * stream * rows;
    // With their gradient; libtorch's cross-entropy makes the logarithms of all probabilities, too.
    let logits = if step.fused { 2.0 } else { 3.0 } * 4.0 * vocabulary * rows;
    let head_gradient = 4.0 * vocabulary * c;
    let block_gradient = 4.0 * (4.0 + 2.0 * mlp) * c * c;

    // The backward pass of one block: the gradients of the stream and of the hidden layer.
    let at_work = rows * (stream + e * c * mlp) + block_gradient;
    let blocks = depth * (rows * (stream + kept) + block_cast);
    let inputs = depth * rows * stream;
    // Two possible peaks: logits with their gradient, and the backward pass of the last block.
    let (at_logits, at_block) = if step.recompute {
        // The block's own output is in memory twice.
        (inputs + head + logits, inputs + rows * (kept + stream) + block_cast + at_work + head_gradient)
    } else {
        (blocks + head + logits, blocks + at_work + head_gradient)
    };
    let activations = ends + at_logits.max(at_block);
    let optimizer = 2.0 * n / step.ranks.max(1) as f64;
    let average = if step.average { n } else { 0.0 };
    // At the end of the backward pass: all gradients, and the inputs of the first block.
    let early = if step.accumulate { n + activations } else { activations };
    let late = n + ends + rows * stream + at_work - block_gradient;
    TrainingMemory {
        parameters: n,
        gradients: n,
        optimizer,
        average,
        activations,
        peak: n + optimizer + average + early.max(late),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recomputing_blocks_saves_most_of_what_deep_models_keep() {
        let config = TransformerConfig::published(16);
        let plain = TrainingStep::plain(8, 2);
        let (kept, again) = (
            training_memory(&config, &plain),
            training_memory(&config, &TrainingStep { recompute: true, ..plain }),
        );
        assert_eq!((kept.parameters, kept.optimizer), (again.parameters, again.optimizer));
        assert!(again.activations < 0.35 * kept.activations, "{again:?} {kept:?}");
    }

    #[test]
    fn ranks_share_the_optimizer_and_an_average_costs_one_more_copy() {
        let config = TransformerConfig::published(16);
        let plain = TrainingStep::plain(1, 2);
        let one = training_memory(&config, &plain);
        let eight = training_memory(&config, &TrainingStep { ranks: 8, ..plain });
        assert_eq!(one.optimizer, 8.0 * eight.optimizer);
        assert_eq!(one.total() - eight.total(), one.optimizer - eight.optimizer);
        let averaged = training_memory(&config, &TrainingStep { average: true, ..plain });
        assert_eq!(averaged.total() - one.total(), one.parameters);
        let several = training_memory(&config, &TrainingStep { accumulate: true, ..plain });
        assert!(several.total() > one.total());
    }
}
