//! Parameters, FLOPs and training memory of the tokenizer from its configuration alone; nothing is built.
//!
//! A multiply-add counts as 2. Convolutions, attention products and the codebook lookup are counted;
//! normalisation, activations and interpolation are not. What the network is supposed to compute counts,
//! not what a kernel saves: the convolution after an upsampling counts in full.

use crate::vqvae::TokenizerConfig;

/// Sums over the layers of one half of the network.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    parameters: u64,
    flops: f64,
    /// Numbers that the backward pass keeps: what goes into every convolution and normalisation.
    kept: f64,
    /// Numbers of the transformed 3×3 filters of residual blocks: 16 for every pair of channels.
    transformed: f64,
}

impl Sum {
    /// A `size`×`size` convolution with bias onto `side`×`side` pixels.
    fn convolution(&mut self, inputs: usize, outputs: usize, size: usize, side: usize) {
        let weights = inputs * outputs * size * size;
        self.parameters += (weights + outputs) as u64;
        self.flops += 2.0 * weights as f64 * (side * side) as f64;
        self.kept += (inputs * side * side) as f64;
    }

    fn norm(&mut self, channels: usize, side: usize) {
        self.parameters += 2 * channels as u64;
        self.kept += (channels * side * side) as f64;
    }

    fn residual(&mut self, inputs: usize, outputs: usize, side: usize) {
        self.norm(inputs, side);
        self.convolution(inputs, outputs, 3, side);
        self.norm(outputs, side);
        self.convolution(outputs, outputs, 3, side);
        self.transformed += (16 * (inputs + outputs) * outputs) as f64;
        if inputs != outputs {
            self.convolution(inputs, outputs, 1, side);
        }
    }

    fn attention(&mut self, channels: usize, side: usize) {
        self.norm(channels, side);
        self.convolution(channels, 3 * channels, 1, side);
        self.convolution(channels, channels, 1, side);
        let pixels = (side * side) as f64;
        self.flops += 4.0 * channels as f64 * pixels * pixels;
        // Queries, keys and values, and the weights of every pair.
        self.kept += pixels * (3.0 * channels as f64 + pixels);
    }

    fn middle(&mut self, channels: usize, side: usize) {
        self.residual(channels, channels, side);
        self.attention(channels, side);
        self.residual(channels, channels, side);
    }
}

/// Width and side of every level, finest first.
fn levels(config: &TokenizerConfig) -> Vec<(usize, usize)> {
    let side = config.image_side();
    config.channel_multipliers.iter().enumerate().map(|(i, m)| (config.channels * m, side >> i)).collect()
}

fn encoder(config: &TokenizerConfig) -> Sum {
    let mut sum = Sum::default();
    let (levels, z) = (levels(config), config.latent_channels);
    let (mut width, mut side) = (config.channels, config.image_side());
    sum.convolution(3, width, 3, side);
    for (i, &(next, at)) in levels.iter().enumerate() {
        let last = i + 1 == levels.len();
        side = at;
        for _ in 0..config.residual_blocks {
            sum.residual(width, next, side);
            width = next;
            if last {
                sum.attention(width, side);
            }
        }
        if !last {
            sum.convolution(width, width, 3, side / 2);
        }
    }
    sum.middle(width, side);
    sum.norm(width, side);
    sum.convolution(width, z, 3, side);
    sum.convolution(z, z, 3, side);
    sum
}

fn decoder(config: &TokenizerConfig) -> Sum {
    let mut sum = Sum::default();
    let (levels, z) = (levels(config), config.latent_channels);
    let Some(&(mut width, lowest)) = levels.last() else { return sum };
    sum.convolution(z, z, 3, lowest);
    sum.convolution(z, width, 3, lowest);
    sum.middle(width, lowest);
    for (i, &(next, side)) in levels.iter().enumerate().rev() {
        for _ in 0..=config.residual_blocks {
            sum.residual(width, next, side);
            width = next;
            if i + 1 == levels.len() {
                sum.attention(width, side);
            }
        }
        if i > 0 {
            sum.convolution(width, width, 3, 2 * side);
        }
    }
    sum.norm(width, config.image_side());
    sum.convolution(width, 3, 3, config.image_side());
    sum
}

fn quantizer(config: &TokenizerConfig) -> Sum {
    let mut sum = Sum::default();
    let (z, last) = (config.latent_channels, config.schedule.last_side());
    let count = config.phi.count(config.schedule.scales());
    sum.parameters = (config.vocabulary * z + count * (9 * z * z + z)) as u64;
    // Distances of every token to every code, and φ once a scale.
    sum.flops = 2.0 * (config.vocabulary * z * config.schedule.tokens()) as f64
        + 2.0 * (9 * z * z * last * last * config.schedule.scales()) as f64;
    sum
}

/// Trainable parameters.
///
/// ```
/// use var_tokenizer::{TokenizerConfig, cost};
/// assert_eq!(cost::parameters(&TokenizerConfig::published()), 108_948_355);
/// ```
pub fn parameters(config: &TokenizerConfig) -> u64 {
    encoder(config).parameters + decoder(config).parameters + quantizer(config).parameters
}

/// Returns the number of values in the largest tensor between two layers of the decoder, for one image.
pub fn widest_activation(config: &TokenizerConfig) -> f64 {
    // An upsampling hands its level's width on at twice the side.
    let levels = levels(config);
    let entering = |i: usize| levels.get(i + 1).map_or(0, |&(below, _)| below);
    let numbers =
        levels.iter().enumerate().map(|(i, &(width, side))| (width.max(entering(i)) * side * side) as f64);
    numbers.fold(0.0, f64::max)
}

/// Returns how many numbers the decoder's filters have after Winograd's transform, which a processor keeps besides the
/// weights.
pub fn transformed_filters(config: &TokenizerConfig) -> f64 {
    decoder(config).transformed
}

/// Returns the FLOPs to encode one image.
pub fn encode_flops(config: &TokenizerConfig) -> f64 {
    encoder(config).flops + quantizer(config).flops
}

/// Returns the FLOPs to decode one latent.
pub fn decode_flops(config: &TokenizerConfig) -> f64 {
    decoder(config).flops
}

/// Returns the FLOPs of a forward and backward pass over one image: three forward passes.
pub fn training_flops(config: &TokenizerConfig) -> f64 {
    3.0 * (encode_flops(config) + decode_flops(config))
}

/// Bytes of one training step over `batch` images when activations take `bytes` (4 for `f32`, 2 for
/// `bf16`) a number: parameters, gradients and both moments in `f32`, and what the backward pass keeps.
/// An estimate; workspaces of convolutions come on top.
pub fn training_memory(config: &TokenizerConfig, batch: usize, bytes: usize) -> f64 {
    let kept = encoder(config).kept + decoder(config).kept;
    16.0 * parameters(config) as f64 + batch as f64 * bytes as f64 * kept
}
