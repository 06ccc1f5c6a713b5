//! The decoder: latent after `post_quant_conv` → image.

use tch::Tensor;

use super::config::TokenizerConfig;
use super::encoder::middle;
use super::layers::{AttentionBlock, Convolution, Norm, Pass, ResidualBlock, Upsample};
use crate::runtime::error::Result;
use crate::runtime::torch::kernels::channels_last;
use crate::runtime::weights::Builder;

#[derive(Debug)]
struct Level {
    blocks: Vec<ResidualBlock>,
    attention: Vec<AttentionBlock>,
    upsample: Option<Upsample>,
}

/// Mirror of the encoder with one more residual block a level.
#[derive(Debug)]
pub(crate) struct Decoder {
    input: Convolution,
    middle: (ResidualBlock, AttentionBlock, ResidualBlock),
    /// From the finest level (0) to the coarsest, as the checkpoint counts them; run backwards.
    levels: Vec<Level>,
    norm: Norm,
    output: Convolution,
}

impl Decoder {
    /// Builds it under the names of the released checkpoint.
    pub(crate) fn new(mut b: Builder<'_>, config: &TokenizerConfig) -> Self {
        let count = config.channel_multipliers.len();
        let width_of = |i: usize| config.channels * config.channel_multipliers.get(i).copied().unwrap_or(1);
        let lowest = width_of(count - 1);
        let input = Convolution::new(b.sub("conv_in"), config.latent_channels, lowest, 3);
        let middle = middle(b.sub("mid"), lowest);
        let levels = (0..count)
            .map(|i| {
                let mut b = b.sub("up");
                let mut b = b.sub(i);
                let last = i + 1 == count;
                // The level below hands over its own width.
                let entering = if last { lowest } else { width_of(i + 1) };
                let width = width_of(i);
                let blocks = (0..=config.residual_blocks)
                    .map(|j| {
                        let from = if j == 0 { entering } else { width };
                        ResidualBlock::new(b.sub("block").sub(j), from, width)
                    })
                    .collect();
                let attention = (0..if last { config.residual_blocks + 1 } else { 0 })
                    .map(|j| AttentionBlock::new(b.sub("attn").sub(j), width))
                    .collect();
                let upsample = (i > 0).then(|| Upsample::new(b.sub("upsample"), width));
                Level { blocks, attention, upsample }
            })
            .collect();
        Self {
            input,
            middle,
            levels,
            norm: Norm::new(b.sub("norm_out"), width_of(0)),
            output: Convolution::new(b.sub("conv_out"), width_of(0), 3, 3),
        }
    }

    /// `[B, z, h, w]` → `[B, 3, f·h, f·w]`, not clamped.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward(&self, latent: &Tensor) -> Result<Tensor> {
        let pass = Pass::decoding(latent, &self.input);
        let mut h = pass.stream(self.input.forward(&channels_last(latent)?));
        h = self.middle.0.forward(&h, pass)?;
        h = self.middle.1.forward(&h, pass)?;
        h = self.middle.2.forward(&h, pass)?;
        for level in self.levels.iter().rev() {
            for (j, block) in level.blocks.iter().enumerate() {
                h = block.forward(&h, pass)?;
                if let Some(attention) = level.attention.get(j) {
                    h = attention.forward(&h, pass)?;
                }
            }
            if let Some(upsample) = &level.upsample {
                h = upsample.forward(&h, pass)?;
            }
        }
        Ok(self.output.forward(&self.norm.forward_silu(&h, pass)?))
    }
}
