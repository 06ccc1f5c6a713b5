//! The head: AdaLN, then a linear layer to the logits, all in `f32`.

use tch::{Kind, Tensor};
use var_tokenizer::torch::kernels::{layer_norm_modulate, linear};
use var_tokenizer::weights::{Builder, Init};

use super::block::EPSILON;
use super::initialisation::Deviations;
use crate::config::TransformerConfig;
use crate::error::Result;

/// Scale and shift before the logits, `[B, 1, C]` each.
#[derive(Debug)]
pub(crate) struct HeadModulation {
    scale: Tensor,
    shift: Tensor,
}

/// Output layer.
#[derive(Debug)]
pub(crate) struct Head {
    adaln: (Tensor, Tensor),
    output: (Tensor, Tensor),
}

impl Head {
    pub(crate) fn new(mut b: Builder<'_>, config: &TransformerConfig, init: &Deviations) -> Self {
        let (c, v) = (config.width as i64, config.vocabulary as i64);
        let zero = Init::Constant(0.0);
        let mut norm = b.sub("head_nm.ada_lin.1");
        let adaln = (
            norm.parameter("weight", &[2 * c, c], init.head_adaln()),
            norm.parameter("bias", &[2 * c], zero),
        );
        let mut output = b.sub("head");
        let output = (output.parameter("weight", &[v, c], init.head()), output.parameter("bias", &[v], zero));
        Self { adaln, output }
    }

    /// Modulation for an activated condition `[B, C]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn modulation(&self, activated: &Tensor) -> Result<HeadModulation> {
        let activated = activated.to_kind(Kind::Float);
        let both = linear(&activated, &self.adaln.0, Some(&self.adaln.1))?.unsqueeze(1);
        let width = both.size().last().copied().unwrap_or(0) / 2;
        Ok(HeadModulation { scale: both.narrow(2, 0, width), shift: both.narrow(2, width, width) })
    }

    /// `[B, l, C]` → logits `[B, l, V]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward(&self, x: &Tensor, modulation: &HeadModulation) -> Result<Tensor> {
        let normal = layer_norm_modulate(x, &modulation.scale, &modulation.shift, EPSILON, Kind::Float)?;
        linear(&normal, &self.output.0, Some(&self.output.1))
    }
}
