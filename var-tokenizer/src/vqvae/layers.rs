//! Layers that encoder and decoder share.
//!
//! The kind of the images decides the precision. Each layer casts its weights to it: an `f32` model computes in `bf16`
//! on `bf16` images. The stream between residual blocks can be wider (`Pass`).

use tch::{Kind, Tensor};

use crate::runtime::error::Result;
use crate::runtime::torch::kernels::{
    WinogradFilter, group_norm_silu, upsample_convolution, winograd_applies,
};
use crate::runtime::weights::{Builder, Init};

/// Groups of every GroupNorm.
const GROUPS: i64 = 32;
/// Added to the variance in GroupNorm.
const EPSILON: f64 = 1e-6;

/// How one pass through encoder or decoder computes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pass {
    /// What products and normalised values are in.
    kind: Kind,
    /// Whether 3×3 convolutions of residual blocks go by Winograd. The stream is `f32` then: a `bf16` stream loses more
    /// than Winograd's rounding does.
    winograd: bool,
}

impl Pass {
    /// The pass of `x` through the encoder that begins with `first`. In `f32` its convolutions are direct: ids must not
    /// depend on the processor.
    pub(crate) fn encoding(x: &Tensor, first: &Convolution) -> Self {
        let direct = x.kind() != Kind::BFloat16;
        Self { winograd: !direct && first.is_frozen() && winograd_applies(x), kind: x.kind() }
    }

    /// The pass of `x` through the decoder that begins with `first`.
    pub(crate) fn decoding(x: &Tensor, first: &Convolution) -> Self {
        Self { winograd: first.is_frozen() && winograd_applies(x), kind: x.kind() }
    }

    /// `x` as the stream between the blocks.
    pub(crate) fn stream(self, x: Tensor) -> Tensor {
        if self.winograd { x.to_kind(Kind::Float) } else { x }
    }
}

/// A square convolution with bias, "same" padding unless said otherwise.
#[derive(Debug)]
pub(crate) struct Convolution {
    weight: Tensor,
    bias: Tensor,
    stride: i64,
    padding: i64,
    winograd: WinogradFilter,
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
            winograd: WinogradFilter::default(),
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

    /// Whether the weights are for inference alone. Weights in training change with every step, in ways that a kept filter
    /// would not notice.
    fn is_frozen(&self) -> bool {
        !self.weight.requires_grad()
    }

    /// The same by Winograd, where `pass` says so; for 3×3 filters of stride 1 over multiples of 32 channels.
    fn forward_in(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        if pass.winograd {
            self.winograd.convolve(x, &self.weight, &self.bias, None)
        } else {
            Ok(self.forward(x))
        }
    }

    /// The same, plus the stream.
    fn add_to(&self, stream: &Tensor, x: &Tensor, pass: Pass) -> Result<Tensor> {
        if pass.winograd {
            return self.winograd.convolve(x, &self.weight, &self.bias, Some(stream));
        }
        Ok(self.forward(x).f_add_(stream)?)
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
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        group_norm_silu(x, &self.weight, &self.bias, GROUPS, EPSILON, false, pass.kind)
    }

    /// Normalises `[B, C, H, W]`, then SiLU.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward_silu(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        group_norm_silu(x, &self.weight, &self.bias, GROUPS, EPSILON, true, pass.kind)
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
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let h = self.conv1.forward_in(&self.norm1.forward_silu(x, pass)?, pass)?;
        let h = self.norm2.forward_silu(&h, pass)?;
        match &self.shortcut {
            Some(shortcut) => {
                let stream = shortcut.forward(&x.to_kind(pass.kind)).to_kind(x.kind());
                self.conv2.add_to(&stream, &h, pass)
            }
            None => self.conv2.add_to(x, &h, pass),
        }
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
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        let (batch, channels, height, width) = x.size4()?;
        let qkv = self.qkv.forward(&self.norm.forward(x, pass)?);
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
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass) -> Tensor {
        self.0.forward(&x.to_kind(pass.kind).constant_pad_nd([0, 1, 0, 1])).to_kind(x.kind())
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
    pub(crate) fn forward(&self, x: &Tensor, pass: Pass) -> Result<Tensor> {
        Ok(upsample_convolution(&x.to_kind(pass.kind), &self.0.weight, &self.0.bias)?.to_kind(x.kind()))
    }
}
