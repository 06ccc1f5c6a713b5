//! Parameters, FLOPs and memory, computed from the configuration without building a network.
//!
//! A multiply-add is 2 FLOPs. A linear layer costs `2·in·out` per token. Attention costs `4·C` per pair of a query and a
//! key that it sees; a token of step `k` sees all keys of steps up to `k`. AdaLN projections run once per image. Forward
//! and backward pass together cost three forward passes.

mod training;

use serde::Serialize;

pub use training::{TrainingMemory, TrainingStep, training_memory};

use crate::config::{MLP_RATIO, TransformerConfig};
use var_tokenizer::TokenizerConfig;

/// Maximum number of optimizer steps of a run, far above any real one. Products of such limits fit into 64 bits.
pub const MOST_STEPS: u64 = 1_000_000_000;
/// Maximum number of images per step, see [`MOST_STEPS`].
pub const MOST_PICTURES: u64 = 1 << 17;

/// Trainable parameters.
///
/// ```
/// use var_model::{config::TransformerConfig, cost};
/// assert_eq!(cost::parameters(&TransformerConfig::published(16)), 310_283_520);
/// ```
pub fn parameters(config: &TransformerConfig) -> u64 {
    let c = config.width as u64;
    let hidden = MLP_RATIO as u64 * c;
    let scales = config.schedule.scales() as u64;
    let first = config.step(0).len() as u64;
    let vocabulary = config.vocabulary as u64;
    let adaln = 6 * c * c + 6 * c;
    let attention = 3 * c * c + 2 * c + (c * c + c) + if config.qk_norm { config.heads as u64 } else { 0 };
    let feed_forward = (c * hidden + hidden) + (hidden * c + c);
    let own_adaln = config.adaln && !config.shared_adaln;
    let block = attention + feed_forward + if own_adaln { adaln } else { 6 * c };
    let embeddings = config.latent_channels as u64 * c
        + c
        + (config.classes as u64 + 1) * c
        + first * c
        + config.schedule.tokens() as u64 * c
        + scales * c;
    let head_norm = if config.adaln { 2 * c * c + 2 * c } else { 2 * c };
    let head = head_norm + (c * vocabulary + vocabulary);
    embeddings + config.depth as u64 * block + head + if config.shared_adaln { adaln } else { 0 }
}

/// FLOPs of one forward pass over one image (all `L` tokens, teacher-forced).
pub fn forward_flops(config: &TransformerConfig) -> f64 {
    let (c, depth) = (config.width as f64, config.depth as f64);
    let per_picture_adaln = match (config.adaln, config.shared_adaln) {
        (false, _) => 0.0,
        (true, shared) => 2.0 * 6.0 * c * c * if shared { 1.0 } else { depth } + 2.0 * 2.0 * c * c,
    };
    let steps: f64 = (0..config.steps()).map(|k| step_flops(config, k)).sum();
    steps + per_picture_adaln
}

/// FLOPs of step `k` of one image, without AdaLN.
pub(crate) fn step_flops(config: &TransformerConfig, k: usize) -> f64 {
    let (c, depth, range) = (config.width as f64, config.depth as f64, config.step(k));
    let (tokens, seen) = (range.len() as f64, range.end as f64);
    let linear = 2.0 * (3.0 * c * c + c * c + 2.0 * MLP_RATIO as f64 * c * c) * tokens;
    let attention = 4.0 * c * tokens * seen;
    let word_embedding = if k == 0 { 0.0 } else { 2.0 * config.latent_channels as f64 * c * tokens };
    let head = 2.0 * c * config.vocabulary as f64 * tokens;
    depth * (linear + attention) + word_embedding + head
}

/// Bytes that step `k` reads in sampling `rows` sequences: the matrices of the blocks, keys and values with `bytes` per
/// element, the matrix of the head in `f32`.
pub(crate) fn step_bytes(config: &TransformerConfig, k: usize, rows: f64, bytes: usize) -> f64 {
    let (c, depth) = (config.width as f64, config.depth as f64);
    let matrices = depth * (4.0 + 2.0 * MLP_RATIO as f64) * c * c;
    let cache = 2.0 * depth * rows * c * config.step(k).end as f64;
    (matrices + cache) * bytes as f64 + 4.0 * c * config.vocabulary as f64
}

/// FLOPs of forward and backward over one image: three forwards.
pub fn training_flops(config: &TransformerConfig) -> f64 {
    3.0 * forward_flops(config)
}

/// `6·N·D` of the scaling literature for one image, to compare with [`training_flops`].
pub fn six_n_d(config: &TransformerConfig) -> f64 {
    6.0 * parameters(config) as f64 * config.schedule.tokens() as f64
}

/// Memory of sampling in bytes, by purpose.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct SamplingMemory {
    /// The transformer: matrices of the blocks in the compute type, the rest in `f32`.
    pub transformer: f64,
    /// The tokenizer in the compute type, its codebook in `f32`.
    pub tokenizer: f64,
    /// Keys and values of all tokens, for both halves of a guided batch.
    pub cache: f64,
    /// Drawing the tokens of the largest step: logits, their order and their sums.
    pub logits: f64,
    /// The widest layer of the decoder, and its transformed filters.
    pub decoder: f64,
}

impl SamplingMemory {
    /// The peak: tokens are drawn before images are decoded, and the cache stays until the end.
    pub(crate) fn total(&self) -> f64 {
        self.transformer + self.tokenizer + self.cache + self.logits.max(self.decoder)
    }
}

/// Memory in bytes of sampling `batch` images at once, which are twice as many rows when `guided`. An element of matrices
/// and activations takes `bytes` (4 for `f32`, 2 for `bf16`). This is an estimate: it does not include the program itself
/// (about 150 MB) and the workspaces of libraries.
pub(crate) fn sampling_memory(
    config: &TransformerConfig,
    tokenizer: &TokenizerConfig,
    batch: usize,
    guided: bool,
    bytes: usize,
) -> SamplingMemory {
    let (b, e) = (batch as f64, bytes as f64);
    let rows = b * if guided { 2.0 } else { 1.0 };
    let (c, depth) = (config.width as f64, config.depth as f64);
    // AdaLN, attention and feed-forward, without biases.
    let adaln = 6.0 * c * c;
    let in_kind = depth * (4.0 + 2.0 * MLP_RATIO as f64) * c * c
        + match (config.adaln, config.shared_adaln) {
            (false, _) => 0.0,
            (true, true) => adaln,
            (true, false) => depth * adaln,
        };
    let parameters = parameters(config) as f64;
    let last = config.largest_step() as f64;
    // Bytes per logit: the logits of every row; guided, filtered, sorted, softmax: 4 each; the order, the workspace of
    // the sort, and the sums in f64: 8 each.
    let drawing = b * last * config.vocabulary as f64;
    let head = rows * last * (config.vocabulary as f64 * 4.0 + c * 8.0);
    // Of a residual block: input and sum in f32; normalised, convolved, and a copy by a library.
    let (widest, of_block) = (var_tokenizer::cost::widest_activation(tokenizer), 2.0 * 4.0 + 3.0 * e);
    let codebook = (tokenizer.vocabulary * tokenizer.latent_channels) as f64;
    let tokenizer_parameters = var_tokenizer::cost::parameters(tokenizer) as f64;
    SamplingMemory {
        transformer: in_kind * e + (parameters - in_kind) * 4.0,
        tokenizer: (tokenizer_parameters - codebook) * e + codebook * 4.0,
        cache: 2.0 * depth * rows * c * config.schedule.tokens() as f64 * e,
        logits: head + drawing * (4.0 * 4.0 + 8.0 * 4.0),
        decoder: b * widest * of_block + var_tokenizer::cost::transformed_filters(tokenizer) * e,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_equal_the_published_totals_from_d6_to_d36() {
        let table = [
            (6, 18_492_580),
            (8, 41_315_904),
            (10, 78_367_716),
            (12, 133_186_960),
            (14, 209_312_580),
            (16, 310_283_520),
            (18, 439_638_724),
            (20, 600_917_136),
            (22, 797_657_700),
            (24, 1_033_399_360),
            (26, 1_311_681_060),
            (28, 1_636_041_744),
            (30, 2_010_020_356),
        ];
        for (depth, expected) in table {
            assert_eq!(parameters(&TransformerConfig::published(depth)), expected, "d{depth}");
        }
        let mut large = TransformerConfig::published(36);
        large.schedule = "1,2,3,4,6,9,13,18,24,32".parse().unwrap();
        large.shared_adaln = true;
        assert_eq!(parameters(&large), 2_353_893_904);
    }

    #[test]
    fn flops_of_a_published_step_match_a_count_by_hand() {
        // d6 at 680 tokens: linear layers 12·C² a token and block, attention over the pairs seen, head.
        let config = TransformerConfig::published(6);
        let c = 384.0_f64;
        let pairs: f64 = [1, 4, 9, 16, 25, 36, 64, 100, 169, 256]
            .iter()
            .scan(0.0, |seen, &l| {
                *seen += f64::from(l);
                Some(f64::from(l) * *seen)
            })
            .sum();
        let expected = 6.0 * (24.0 * c * c * 680.0 + 4.0 * c * pairs)
            + 2.0 * c * 4096.0 * 680.0
            + 2.0 * 32.0 * c * 679.0
            + 6.0 * 12.0 * c * c
            + 4.0 * c * c;
        assert!((forward_flops(&config) / expected - 1.0).abs() < 1e-12);
    }

    #[test]
    fn sampling_holds_the_weights_in_their_kind_and_a_cache_that_guidance_doubles() {
        let (config, tokenizer) = (TransformerConfig::published(16), TokenizerConfig::published());
        let plain = sampling_memory(&config, &tokenizer, 4, false, 4);
        assert_eq!(plain.transformer, 4.0 * parameters(&config) as f64);
        assert_eq!(plain.tokenizer, 4.0 * 108_948_355.0);
        // Keys and values of 680 tokens in 16 blocks of 1024 channels.
        assert_eq!(plain.cache, 2.0 * 16.0 * 4.0 * 680.0 * 1024.0 * 4.0);
        let guided = sampling_memory(&config, &tokenizer, 4, true, 4);
        assert_eq!(guided.cache, 2.0 * plain.cache);
        let half = sampling_memory(&config, &tokenizer, 4, true, 2);
        assert_eq!(2.0 * half.cache, guided.cache);
        // Embeddings and head stay in f32.
        assert!(half.transformer > 0.5 * plain.transformer && half.transformer < 0.6 * plain.transformer);
        assert!(half.total() < guided.total());
    }
}
