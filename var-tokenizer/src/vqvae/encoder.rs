//! The encoder: image → latent before `quant_conv`.

use tch::Tensor;

use super::config::TokenizerConfig;
use super::layers::{AttentionBlock, Convolution, Downsample, Norm, Pass, ResidualBlock};
use crate::runtime::error::Result;
use crate::runtime::torch::kernels::channels_last;
use crate::runtime::weights::Builder;

#[derive(Debug)]
struct Level {
    blocks: Vec<ResidualBlock>,
    attention: Vec<AttentionBlock>,
    downsample: Option<Downsample>,
}

/// Convolutional encoder of latent diffusion's VQGAN.
#[derive(Debug)]
pub(crate) struct Encoder {
    input: Convolution,
    levels: Vec<Level>,
    middle: (ResidualBlock, AttentionBlock, ResidualBlock),
    norm: Norm,
    output: Convolution,
}

impl Encoder {
    /// Builds it under the names of the released checkpoint.
    pub(crate) fn new(mut b: Builder<'_>, config: &TokenizerConfig) -> Self {
        let input = Convolution::new(b.sub("conv_in"), 3, config.channels, 3);
        let count = config.channel_multipliers.len();
        let mut width = config.channels;
        let mut levels = Vec::with_capacity(count);
        for (i, multiplier) in config.channel_multipliers.iter().enumerate() {
            let mut b = b.sub("down");
            let mut b = b.sub(i);
            let last = i + 1 == count;
            let mut level = Level { blocks: Vec::new(), attention: Vec::new(), downsample: None };
            for j in 0..config.residual_blocks {
                level.blocks.push(ResidualBlock::new(
                    b.sub("block").sub(j),
                    width,
                    config.channels * multiplier,
                ));
                width = config.channels * multiplier;
            }
            for j in 0..if last { config.residual_blocks } else { 0 } {
                level.attention.push(AttentionBlock::new(b.sub("attn").sub(j), width));
            }
            if !last {
                level.downsample = Some(Downsample::new(b.sub("downsample"), width));
            }
            levels.push(level);
        }
        let middle = middle(b.sub("mid"), width);
        Self {
            input,
            levels,
            middle,
            norm: Norm::new(b.sub("norm_out"), width),
            output: Convolution::new(b.sub("conv_out"), width, config.latent_channels, 3),
        }
    }

    /// `[B, 3, S, S]` in [-1, 1] → `[B, z, S/f, S/f]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward(&self, images: &Tensor) -> Result<Tensor> {
        let pass = Pass::encoding(images, &self.input);
        let mut h = pass.stream(self.input.forward(&channels_last(images)?));
        for level in &self.levels {
            for (j, block) in level.blocks.iter().enumerate() {
                h = block.forward(&h, pass)?;
                if let Some(attention) = level.attention.get(j) {
                    h = attention.forward(&h, pass)?;
                }
            }
            if let Some(downsample) = &level.downsample {
                h = downsample.forward(&h, pass);
            }
        }
        h = self.middle.0.forward(&h, pass)?;
        h = self.middle.1.forward(&h, pass)?;
        h = self.middle.2.forward(&h, pass)?;
        Ok(self.output.forward(&self.norm.forward_silu(&h, pass)?))
    }
}

/// Residual block, attention, residual block at the lowest resolution.
pub(super) fn middle(mut b: Builder<'_>, width: usize) -> (ResidualBlock, AttentionBlock, ResidualBlock) {
    (
        ResidualBlock::new(b.sub("block_1"), width, width),
        AttentionBlock::new(b.sub("attn_1"), width),
        ResidualBlock::new(b.sub("block_2"), width, width),
    )
}
