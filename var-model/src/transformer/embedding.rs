//! The input of the first block: class, word, position and level embeddings, all in `f32`.

use tch::Tensor;
use var_tokenizer::weights::Builder;

use super::initialisation::Deviations;
use crate::config::TransformerConfig;

/// The transformer's embeddings.
#[derive(Debug)]
pub(crate) struct Embedding {
    /// `[1, l_1, C]`, for the `l_1` tokens of the first step.
    start: Tensor,
    /// `[1, L, C]`
    position: Tensor,
    word_weight: Tensor,
    word_bias: Tensor,
    /// `[classes + 1, C]`
    class: Tensor,
    /// `[K, C]`, one row per token map.
    level: Tensor,
    /// Scale of each position, `[L]`.
    scale_of_position: Tensor,
    /// Mean and reciprocal deviation of the input vectors, `[z]` each.
    standardisation: Option<(Tensor, Tensor)>,
}

impl Embedding {
    pub(crate) fn new(mut b: Builder<'_>, config: &TransformerConfig, init: &Deviations) -> Self {
        let c = config.width as i64;
        let first = config.step(0).len() as i64;
        let tokens = config.schedule.tokens() as i64;
        let start = b.parameter("pos_start", &[1, first, c], init.plain());
        let position = b.parameter("pos_1LC", &[1, tokens, c], init.plain());
        let mut word = b.sub("word_embed");
        let word_weight = word.parameter("weight", &[c, config.latent_channels as i64], init.plain());
        let word_bias = word.parameter("bias", &[c], var_tokenizer::weights::Init::Constant(0.0));
        let class = b.sub("class_emb").parameter("weight", &[config.classes as i64 + 1, c], init.plain());
        let level =
            b.sub("lvl_embed").parameter("weight", &[config.schedule.scales() as i64, c], init.plain());
        let scale_of_position = config.scale_of_positions().to_device(class.device());
        let device = class.device();
        let standardisation = config.input.as_ref().map(|s| {
            let mean = Tensor::from_slice(&s.mean).to_device(device);
            (mean, Tensor::from_slice(&s.deviation).to_device(device).reciprocal())
        });
        Self { start, position, word_weight, word_bias, class, level, scale_of_position, standardisation }
    }

    /// Class vectors `[B, C]` of `labels` `[B]` (i64).
    pub(crate) fn condition(&self, labels: &Tensor) -> Tensor {
        Tensor::embedding(&self.class, labels, -1, false, false)
    }

    /// Level plus position of `length` positions from `begin`: `[1, length, C]`.
    fn place(&self, begin: i64, length: i64) -> Tensor {
        let scales = self.scale_of_position.narrow(0, begin, length);
        let level = Tensor::embedding(&self.level, &scales, -1, false, false).unsqueeze(0);
        level + self.position.narrow(1, begin, length)
    }

    /// Tokens of the first step for class vectors `[B, C]`: `[B, l_1, C]`.
    pub(crate) fn first(&self, condition: &Tensor) -> Tensor {
        let length = self.start.size().get(1).copied().unwrap_or(1);
        condition.unsqueeze(1) + &self.start + self.place(0, length)
    }

    /// Tokens for the positions from `begin` on, from input vectors `[B, l, z]`: `[B, l, C]`.
    pub(crate) fn later(&self, vectors: &Tensor, begin: usize) -> Tensor {
        let length = vectors.size().get(1).copied().unwrap_or(0);
        let mut vectors = vectors.to_kind(tch::Kind::Float);
        if let Some((mean, reciprocal)) = &self.standardisation {
            vectors = (vectors - mean) * reciprocal;
        }
        vectors.linear(&self.word_weight, Some(&self.word_bias)) + self.place(begin as i64, length)
    }
}
