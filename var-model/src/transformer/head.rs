//! The head: AdaLN (or a plain norm), then a linear layer to the logits, in `f32`; the factors of the product may be rounded
//! to the kind that the blocks compute in.

use tch::{Kind, Tensor};
use var_tokenizer::torch::kernels::{layer_norm_modulate, linear, wide_linear};
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

impl HeadModulation {
    /// That of the first `rows` images.
    pub(super) fn first(&self, rows: i64) -> Self {
        Self { scale: self.scale.narrow(0, 0, rows), shift: self.shift.narrow(0, 0, rows) }
    }
}

/// The source of scale and shift.
#[derive(Debug)]
enum Condition {
    /// A projection of the condition.
    Own(Tensor, Tensor),
    /// The same for every class, `[1, 1, 2, C]`.
    Fixed(Tensor),
}

/// Output layer.
#[derive(Debug)]
pub(crate) struct Head {
    condition: Condition,
    output: (Tensor, Tensor),
}

impl Head {
    pub(crate) fn new(mut b: Builder<'_>, config: &TransformerConfig, init: &Deviations) -> Self {
        let (c, v) = (config.width as i64, config.vocabulary as i64);
        let zero = Init::Constant(0.0);
        let condition = if config.adaln {
            let mut norm = b.sub("head_nm.ada_lin.1");
            let weight = norm.parameter("weight", &[2 * c, c], init.head_adaln());
            Condition::Own(weight, norm.parameter("bias", &[2 * c], zero))
        } else {
            Condition::Fixed(b.sub("head_nm").parameter("ada_gss", &[1, 1, 2, c], zero))
        };
        let mut output = b.sub("head");
        let output = (output.parameter("weight", &[v, c], init.head()), output.parameter("bias", &[v], zero));
        Self { condition, output }
    }

    /// Modulation for an activated condition `[B, C]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn modulation(&self, activated: &Tensor) -> Result<HeadModulation> {
        let both = match &self.condition {
            Condition::Own(weight, bias) => {
                linear(&activated.to_kind(Kind::Float), weight, Some(bias))?.unsqueeze(1)
            }
            Condition::Fixed(both) => {
                let batch = activated.size().first().copied().unwrap_or(1);
                both.flatten(2, 3).squeeze_dim(0).unsqueeze(0).expand([batch, -1, -1], false)
            }
        };
        let width = both.size().last().copied().unwrap_or(0) / 2;
        Ok(HeadModulation {
            scale: both.narrow(2, 0, width).contiguous(),
            shift: both.narrow(2, width, width).contiguous(),
        })
    }

    /// `[B, l, C]` → logits `[B, l, V]` in `f32`. The blocks compute in `kind`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn forward(&self, x: &Tensor, modulation: &HeadModulation, kind: Kind) -> Result<Tensor> {
        let normal = layer_norm_modulate(x, &modulation.scale, &modulation.shift, EPSILON, kind)?;
        let (weight, bias) = &self.output;
        if kind == Kind::Float {
            linear(&normal, weight, Some(bias))
        } else {
            wide_linear(&normal, weight, bias)
        }
    }
}
