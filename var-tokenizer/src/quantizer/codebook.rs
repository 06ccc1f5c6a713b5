//! The codebook and its nearest-code lookup.

use tch::Tensor;

use crate::runtime::error::Result;
use crate::runtime::torch::kernels::{most_similar_code, nearest_code};
use crate::runtime::weights::{Builder, Init};

/// `V` codes of `z` channels, shared by all scales.
#[derive(Debug)]
pub struct Codebook {
    embedding: Tensor,
    z_norm: bool,
}

impl Codebook {
    /// Builds it under the names of the released checkpoint.
    pub(crate) fn new(mut b: Builder<'_>, vocabulary: usize, latent_channels: usize, z_norm: bool) -> Self {
        let shape = [vocabulary as i64, latent_channels as i64];
        let bound = 1.0 / vocabulary as f64;
        Self { embedding: b.sub("embedding").parameter("weight", &shape, Init::Uniform(bound)), z_norm }
    }

    /// The codes `[V, z]` in `f32`.
    pub fn embedding(&self) -> &Tensor {
        &self.embedding
    }

    /// Nearest code of each row of `vectors` `[N, z]`: ids `[N]` (i64).
    ///
    /// Euclidean: the first index that minimises `‖z‖² + ‖e‖² − 2 z·e`. Cosine (`z_norm`): the first
    /// that maximises the product of both at length one. Always in `f32`, and without gradient.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn nearest(&self, vectors: &Tensor) -> Result<Tensor> {
        tch::no_grad(|| {
            let unit = |t: &Tensor| t / t.norm_scalaropt_dim(2.0, [-1_i64].as_slice(), true).clamp_min(1e-12);
            let codes = self.embedding.detach();
            if self.z_norm {
                return most_similar_code(&unit(&vectors.detach()), &unit(&codes));
            }
            nearest_code(&vectors.detach(), &codes)
        })
    }

    /// Code vectors of `ids` (any shape `[...]`): `[..., z]`, with gradient to the codebook.
    pub fn vectors(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.embedding, ids, -1, false, false)
    }
}
