//! Scale dropout: some images of a training batch end at an earlier scale, so that early scales alone give an image.
//!
//! Source: the multi-scale tokenizers of XQ-GAN. The residuals continue as if all scales were used.

use tch::{Device, Kind, Tensor};

/// How many of the first scales each image of a batch keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct ScaleDropout {
    kept: Vec<usize>,
}

impl ScaleDropout {
    /// Image `b` keeps its first `kept[b]` scales. The errors of a scale are averaged over the images that keep it.
    pub fn new(kept: Vec<usize>) -> Self {
        Self { kept }
    }

    /// 1 for images that keep scale `k`, otherwise 0: `[B, 1, 1, 1]`.
    pub(super) fn mask(&self, k: usize, device: Device) -> Tensor {
        let mask: Vec<f32> = self.kept.iter().map(|&n| if n > k { 1.0 } else { 0.0 }).collect();
        Tensor::from_slice(&mask).view([-1, 1, 1, 1]).to_device(device)
    }

    /// The mean squared error of `a` and `b` `[B, z, h, w]` over the images that keep scale `k`; 0 if none does.
    pub(super) fn error(&self, a: &Tensor, b: &Tensor, k: usize) -> Tensor {
        let per_image = (a - b).square().mean_dim([1_i64, 2, 3].as_slice(), true, Kind::Float);
        let sum = (per_image * self.mask(k, a.device())).sum(Kind::Float);
        let images = self.kept.iter().filter(|&&n| n > k).count();
        sum / images.max(1) as f64
    }
}
