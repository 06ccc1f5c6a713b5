//! The codebook and its nearest-code lookup.

use tch::{Kind, Tensor};

use crate::weights::{Builder, Init};

/// `V` codes of `z` channels, shared by all scales.
#[derive(Debug)]
pub struct Codebook {
    embedding: Tensor,
    z_norm: bool,
}

impl Codebook {
    /// Builds it under the names of the released checkpoint.
    pub fn new(mut b: Builder<'_>, vocabulary: usize, latent_channels: usize, z_norm: bool) -> Self {
        let shape = [vocabulary as i64, latent_channels as i64];
        let bound = 1.0 / vocabulary as f64;
        Self { embedding: b.sub("embedding").parameter("weight", &shape, Init::Uniform(bound)), z_norm }
    }

    /// The codes `[V, z]` in `f32`.
    pub fn embedding(&self) -> &Tensor {
        &self.embedding
    }

    /// Vocabulary `V`.
    pub fn vocabulary(&self) -> i64 {
        self.embedding.size().first().copied().unwrap_or(0)
    }

    /// Nearest code of each row of `vectors` `[N, z]`: ids `[N]`.
    ///
    /// Euclidean: the first index that minimises `‖z‖² + ‖e‖² − 2 z·e`. Cosine (`z_norm`): the first that
    /// maximises the product of the normalised vectors. Always in `f32`, and without gradient.
    pub fn nearest(&self, vectors: &Tensor) -> Tensor {
        tch::no_grad(|| {
            let codes = self.embedding.detach().to_kind(Kind::Float);
            let vectors = vectors.detach().to_kind(Kind::Float);
            if self.z_norm {
                let unit = |t: &Tensor| {
                    t / t.norm_scalaropt_dim(2.0, [-1_i64].as_slice(), true).clamp_min(1e-12)
                };
                return unit(&vectors).matmul(&unit(&codes).tr()).argmax(1, false);
            }
            let squares = |t: &Tensor, keep: bool| {
                t.square().sum_dim_intlist([1_i64].as_slice(), keep, Kind::Float)
            };
            let mut distances = squares(&vectors, true) + squares(&codes, false);
            distances = distances.addmm_(&vectors, &(codes.tr() * -2.0));
            distances.argmin(1, false)
        })
    }

    /// Code vectors of `ids` (any shape `[...]`): `[..., z]`, with gradient to the codebook.
    pub fn vectors(&self, ids: &Tensor) -> Tensor {
        Tensor::embedding(&self.embedding, ids, -1, false, false)
    }
}
