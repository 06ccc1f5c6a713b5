//! φ: the convolutions that repair what upsampling a token map loses.

use tch::{Kind, Tensor};

use crate::runtime::weights::{Builder, Init};
use crate::vqvae::config::PhiSharing;

/// Which of `count` convolutions scale `k` of `scales` takes: the nearest tick, the first on ties.
///
/// The ticks stand evenly from `1/(3n)` to `1 − 1/(3n)` for 4 convolutions, else from `1/(2n)`.
pub(crate) fn phi_index(count: usize, scales: usize, k: usize) -> usize {
    if count <= 1 {
        return 0;
    }
    let n = count as f64;
    let start = if count == 4 { 1.0 / 3.0 / n } else { 1.0 / 2.0 / n };
    let end = 1.0 - start;
    let step = (end - start) / (n - 1.0);
    let at = if scales < 2 { 0.0 } else { k as f64 / (scales - 1) as f64 };
    let mut best = (0, f64::INFINITY);
    for i in 0..count {
        // The last tick is the end itself: ties must fall as they do for numpy's linspace.
        let tick = if i + 1 == count { end } else { start + i as f64 * step };
        let distance = (tick - at).abs();
        if distance < best.1 {
            best = (i, distance);
        }
    }
    best.0
}

#[derive(Debug)]
struct Convolution {
    weight: Tensor,
    bias: Tensor,
}

/// All φ convolutions and the rule that hands them to scales.
#[derive(Debug)]
pub struct Phi {
    convolutions: Vec<Convolution>,
    scales: usize,
    ratio: f64,
}

impl Phi {
    /// Builds them under the names of the released checkpoint.
    pub(crate) fn new(
        mut b: Builder<'_>,
        sharing: PhiSharing,
        scales: usize,
        channels: usize,
        ratio: f64,
    ) -> Self {
        let bound = 1.0 / ((channels * 9) as f64).sqrt();
        let z = channels as i64;
        let mut convolutions = Vec::new();
        let mut add = |mut b: Builder<'_>| {
            convolutions.push(Convolution {
                weight: b.parameter("weight", &[z, z, 3, 3], Init::Uniform(bound)),
                bias: b.parameter("bias", &[z], Init::Uniform(bound)),
            });
        };
        let mut b = b.sub("quant_resi");
        match sharing {
            PhiSharing::Shared => add(b.sub("qresi")),
            PhiSharing::Partial(count) => (0..count).for_each(|i| add(b.sub("qresi_ls").sub(i))),
            PhiSharing::PerScale => (0..scales).for_each(|i| add(b.sub(i))),
        }
        Self { convolutions, scales, ratio }
    }

    /// Makes every convolution the identity, so that φ changes nothing until it is trained.
    pub fn reset_to_identity(&self) {
        tch::no_grad(|| {
            for c in &self.convolutions {
                let mut weight = c.weight.shallow_clone();
                let _ = weight.zero_();
                let z = weight.size().first().copied().unwrap_or(0);
                let middle = Tensor::eye(z, (Kind::Float, weight.device()));
                weight.select(3, 1).select(2, 1).copy_(&middle);
                let _ = c.bias.shallow_clone().zero_();
            }
        });
    }

    /// φ of scale `k` on `h` `[B, z, h, w]` in `f32`: `(1 − r)·h + r·conv(h)`, the same shape.
    pub(crate) fn forward(&self, k: usize, h: &Tensor) -> Tensor {
        let index = phi_index(self.convolutions.len(), self.scales, k);
        match self.convolutions.get(index) {
            Some(c) if self.ratio > 0.0 => {
                let convolved = h.conv2d(&c.weight, Some(&c.bias), [1, 1], [1, 1], [1, 1], 1);
                h * (1.0 - self.ratio) + convolved * self.ratio
            }
            _ => h.to_kind(Kind::Float),
        }
    }
}
