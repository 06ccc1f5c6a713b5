//! Layers that encoder and decoder share.
//!
//! The kind of the input decides the precision. Each layer casts its weights to it: an `f32` model computes in `bf16`
//! on `bf16` images.

use tch::Tensor;

use crate::runtime::error::Result;
use crate::runtime::torch::kernels::{group_norm_silu, upsample_convolution};
use crate::runtime::weights::{Builder, Init};

/// Groups of every GroupNorm.
const GROUPS: i64 = 32;
/// Added to the variance in GroupNorm.
const EPSILON: f64 = 1e-6;

/// A square convolution with bias, "same" padding unless said otherwise.
#[derive(Debug)]
pub(crate) struct Convolution {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
}

impl Convolution {
    /// `inputs` → `outputs` channels with a `size`×`size` filter, stride 1.
    pub(crate) fn new(mut b: Builder<'_>, inputs: usize, outputs: usize, size: usize) -> Self {
        let bound = 1.0 / ((inputs * size * size) as f64).sqrt();
        let shape = [outputs as i64, inputs as i64, size as i64, size as i64];
        Self {
            weight: b.parameter("weight", &shape, Init::Uniform(bound)),
            bias: b.parameter("bias", &[outputs as i64], Init::Uniform(bound)),
            stride: 1,
            padding: size as i64 / 2,
        }
    }

    /// `[B, in, H, W]` → `[B, out, H, W]` (half the side with stride 2).
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        let kind = x.kind();
        x.conv2d(
            &self.weight.to_kind(kind),
            Some(self.bias.to_kind(kind)),
            [self.stride, self.stride],
            [self.padding, self.padding],
            [1, 1],
            1,
        )
    }
}

/// GroupNorm over 32 groups with an affine map.
#[derive(Debug)]
pub(crate) struct Norm {
    weight: Tensor,
    bias: Tensor,
}

impl Norm {
    /// For `channels` channels.
    pub(crate) fn new(mut b: Builder<'_>, channels: usize) -> Self {
        Self {
            weight: b.parameter("weight", &[channels as i64], Init::Constant(1.0)),
            bias: b.parameter("bias", &[channels as i64], Init::Constant(0.0)),
        }
    }

    /// Normalises `[B, C, H, W]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        group_norm_silu(x, &self.weight, &self.bias, GROUPS, EPSILON, false)
    }

    /// Normalises `[B, C, H, W]`, then SiLU.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        group_norm_silu(x, &self.weight, &self.bias, GROUPS, EPSILON, true)
    }
}

/// Norm, SiLU, convolution, twice, around a shortcut.
#[derive(Debug)]
pub(crate) struct ResidualBlock {
    norm1: Norm,
    conv1: Convolution,
    norm2: Norm,
    conv2: Convolution,
    shortcut: Option<Convolution>,
}

impl ResidualBlock {
    /// `inputs` → `outputs` channels; a 1×1 shortcut where they differ.
    pub(crate) fn new(mut b: Builder<'_>, inputs: usize, outputs: usize) -> Self {
        Self {
            norm1: Norm::new(b.sub("norm1"), inputs),
            conv1: Convolution::new(b.sub("conv1"), inputs, outputs, 3),
            norm2: Norm::new(b.sub("norm2"), outputs),
            conv2: Convolution::new(b.sub("conv2"), outputs, outputs, 3),
            shortcut: (inputs != outputs)
                .then(|| Convolution::new(b.sub("nin_shortcut"), inputs, outputs, 1)),
        }
    }

    /// `[B, in, H, W]` → `[B, out, H, W]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let h = self.conv1.forward(&self.norm1.forward_silu(x)?);
        let h = self.conv2.forward(&self.norm2.forward_silu(&h)?);
        Ok(match &self.shortcut {
            Some(shortcut) => shortcut.forward(x) + h,
            None => x + h,
        })
    }
}

/// Self-attention with one head over all positions.
#[derive(Debug)]
pub(crate) struct AttentionBlock {
    norm: Norm,
    qkv: Convolution,
    projection: Convolution,
}

impl AttentionBlock {
    /// For `channels` channels.
    pub(crate) fn new(mut b: Builder<'_>, channels: usize) -> Self {
        Self {
            norm: Norm::new(b.sub("norm"), channels),
            qkv: Convolution::new(b.sub("qkv"), channels, 3 * channels, 1),
            projection: Convolution::new(b.sub("proj_out"), channels, channels, 1),
        }
    }

    /// `[B, C, H, W]` → the same shape.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, channels, height, width) = x.size4()?;
        let qkv = self.qkv.forward(&self.norm.forward(x)?);
        let parts = qkv.reshape([batch, 3, channels, height * width]).unbind(1);
        let [q, k, v] = parts.as_slice() else {
            return Err(crate::Error::Torch("attention: expected three parts".into()));
        };
        let weights = q.transpose(1, 2).matmul(k) * (channels as f64).powf(-0.5);
        let weights = weights.softmax(-1, None);
        let mixed = v.matmul(&weights.transpose(1, 2)).view([batch, channels, height, width]);
        Ok(x + self.projection.forward(&mixed))
    }
}

/// Halves the side: one row and column of zeros at the right and the bottom, then 3×3 with stride 2.
#[derive(Debug)]
pub(crate) struct Downsample(Convolution);

impl Downsample {
    /// For `channels` channels.
    pub(crate) fn new(mut b: Builder<'_>, channels: usize) -> Self {
        let mut conv = Convolution::new(b.sub("conv"), channels, channels, 3);
        conv.stride = 2;
        conv.padding = 0;
        Self(conv)
    }

    /// `[B, C, H, W]` → `[B, C, H/2, W/2]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        self.0.forward(&x.constant_pad_nd([0, 1, 0, 1]))
    }
}

/// Doubles the side: nearest neighbour, then 3×3.
#[derive(Debug)]
pub(crate) struct Upsample(Convolution);

impl Upsample {
    /// For `channels` channels.
    pub(crate) fn new(mut b: Builder<'_>, channels: usize) -> Self {
        Self(Convolution::new(b.sub("conv"), channels, channels, 3))
    }

    /// `[B, C, H, W]` → `[B, C, 2H, 2W]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        upsample_convolution(x, &self.0.weight, &self.0.bias)
    }
}
