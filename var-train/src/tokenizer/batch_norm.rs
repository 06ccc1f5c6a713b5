//! Batch norm of the discriminator, with the statistics of the images of all ranks.

use tch::{Kind, Tensor};
use var_tokenizer::weights::{Builder, Init};

use crate::distributed::Ranks;
use crate::error::Result;

/// Added to the variance.
const EPSILON: f64 = 1e-5;
/// Share of a batch's statistics in the running ones.
const MOMENTUM: f64 = 0.1;

/// The statistics that batch norm uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Statistics {
    /// Those of the batch; they also move the running ones.
    Batch,
    /// The running ones.
    Running,
}

/// Batch norm over `C` channels.
#[derive(Debug)]
pub(super) struct BatchNorm {
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_variance: Tensor,
}

impl BatchNorm {
    /// Weights around 1, as in the published discriminator.
    pub(super) fn new(mut b: Builder<'_>, channels: i64) -> Self {
        Self {
            weight: b.parameter("weight", &[channels], Init::Around { mean: 1.0, deviation: 0.02 }),
            bias: b.parameter("bias", &[channels], Init::Constant(0.0)),
            running_mean: b.buffer("running_mean", &[channels], 0.0),
            running_variance: b.buffer("running_var", &[channels], 1.0),
        }
    }

    /// Normalises `x` `[B, C, H, W]`, which is this rank's part of a batch.
    ///
    /// # Errors
    /// When libtorch fails or another rank is lost.
    pub(super) fn forward(&self, x: &Tensor, statistics: Statistics, ranks: Ranks) -> Result<Tensor> {
        if statistics == Statistics::Batch && ranks.size() > 1 {
            return self.over_ranks(x, ranks);
        }
        let (mean, variance) = (Some(&self.running_mean), Some(&self.running_variance));
        let (weight, bias) = (Some(&self.weight), Some(&self.bias));
        let of_batch = statistics == Statistics::Batch;
        Ok(x.f_batch_norm(weight, bias, mean, variance, of_batch, MOMENTUM, EPSILON, false)?)
    }

    /// Batch norm with mean and variance of all ranks' parts, which have one size.
    fn over_ranks(&self, x: &Tensor, ranks: Ranks) -> Result<Tensor> {
        let channels = self.weight.numel();
        let count = (ranks.size() * x.numel() / channels) as f64;
        let mean = |t: &Tensor| -> Result<Tensor> {
            let own = t.f_sum_dim_intlist([0_i64, 2, 3].as_slice(), true, Kind::Float)?;
            Ok(ranks.joint_sum(&own)?.f_div_scalar(count)?)
        };
        let centre = mean(x)?;
        let off = x.f_sub(&centre)?;
        let variance = mean(&off.f_square()?)?;
        tch::no_grad(|| -> Result<()> {
            let unbiased = variance.f_mul_scalar(count / (count - 1.0).max(1.0))?;
            for (running, found) in [(&self.running_mean, &centre), (&self.running_variance, &unbiased)] {
                let _ = running.shallow_clone().f_lerp_(&found.f_flatten(0, -1)?, MOMENTUM)?;
            }
            Ok(())
        })?;
        let shape = [1, channels as i64, 1, 1];
        let scale = variance.f_add_scalar(EPSILON)?.f_rsqrt()?.f_mul(&self.weight.f_view(shape)?)?;
        Ok(off.f_mul(&scale)?.f_add(&self.bias.f_view(shape)?)?)
    }
}
