//! Self-attention in which a token sees its own step and all earlier ones.
//!
//! This needs no mask: the queries of step `k` meet only the keys of steps up to `k`. In sampling, the earlier keys come
//! from a cache.

use tch::{Kind, Tensor};
use var_tokenizer::torch::kernels::{
    AttentionCache, QueryKey, block_causal_attention, cached_attention, linear,
};
use var_tokenizer::weights::{Builder, Init};

use super::initialisation::Deviations;
use crate::config::TransformerConfig;
use crate::error::Result;

/// Largest logarithm of the learned temperature, ln 100.
const MAX_LOG_TEMPERATURE: f64 = 4.605_170_185_988_092;

/// The source of keys and values.
#[derive(Debug)]
pub enum Context<'a> {
    /// All steps at once; they end at these positions. For training.
    TeacherForced(&'a [i64]),
    /// One step at a time, with earlier ones in a cache. For sampling.
    Cached(&'a mut KeyValueCache),
}

/// Keys and values of all blocks, allocated once for all tokens, and what each block computes from its weights alone.
#[derive(Debug)]
pub struct KeyValueCache {
    layers: Vec<CachedLayer>,
}

impl KeyValueCache {
    /// Of the caches of all blocks.
    pub(super) fn new(layers: Vec<CachedLayer>) -> Self {
        Self { layers }
    }

    /// The part of a block.
    ///
    /// # Errors
    /// When there is no such block.
    pub(super) fn layer(&mut self, block: usize) -> Result<&mut CachedLayer> {
        let none = || crate::Error::Config("the cache has fewer blocks than the model".into());
        self.layers.get_mut(block).ok_or_else(none)
    }

    /// Keeps the first `rows` sequences.
    pub(crate) fn keep_first(&mut self, rows: i64) {
        self.layers.iter_mut().for_each(|layer| layer.cache.keep_first(rows));
    }
}

/// The part of one block.
#[derive(Debug)]
pub(super) struct CachedLayer {
    pub(super) cache: AttentionCache,
    /// Bias of queries, keys and values `[3C]`.
    pub(super) bias: Tensor,
    /// As [`SelfAttention::temperature`].
    pub(super) temperature: Option<Tensor>,
}

/// Multi-head self-attention with optional QK-norm.
#[derive(Debug)]
pub struct SelfAttention {
    heads: i64,
    /// Logarithm of the temperature `[1, H, 1, 1]` with QK-norm.
    log_temperature: Option<Tensor>,
    query_bias: Tensor,
    value_bias: Tensor,
    qkv: Tensor,
    projection: (Tensor, Tensor),
}

impl SelfAttention {
    pub(crate) fn new(mut b: Builder<'_>, config: &TransformerConfig, init: &Deviations) -> Self {
        let (c, heads) = (config.width as i64, config.heads as i64);
        let zero = Init::Constant(0.0);
        let log_temperature = config
            .qk_norm
            .then(|| b.parameter("scale_mul_1H11", &[1, heads, 1, 1], Init::Constant(4.0_f64.ln())));
        let query_bias = b.parameter("q_bias", &[c], zero);
        let value_bias = b.parameter("v_bias", &[c], zero);
        let qkv = b.sub("mat_qkv").parameter("weight", &[3 * c, c], init.plain());
        let mut output = b.sub("proj");
        let projection =
            (output.parameter("weight", &[c, c], init.branch_output()), output.parameter("bias", &[c], zero));
        Self { heads, log_temperature, query_bias, value_bias, qkv, projection }
    }

    /// Another handle of the same parameters; copies no values.
    pub(crate) fn share(&self) -> Self {
        let (weight, bias) = &self.projection;
        Self {
            heads: self.heads,
            log_temperature: self.log_temperature.as_ref().map(Tensor::shallow_clone),
            query_bias: self.query_bias.shallow_clone(),
            value_bias: self.value_bias.shallow_clone(),
            qkv: self.qkv.shallow_clone(),
            projection: (weight.shallow_clone(), bias.shallow_clone()),
        }
    }

    /// Attention with the published initialisation, which adds its parameters to `b`; to use it without a transformer.
    pub fn standalone(b: Builder<'_>, config: &TransformerConfig) -> Self {
        Self::new(b, config, &super::Initialisation::default().for_config(config))
    }

    /// An empty cache for `batch` sequences of `room` tokens, in `kind`.
    ///
    /// # Errors
    /// When memory runs out.
    pub(super) fn cached(&self, batch: i64, room: i64, kind: Kind) -> Result<CachedLayer> {
        let (width, device) = (self.query_bias.size1()? / self.heads, self.query_bias.device());
        let cache = AttentionCache::new(batch, self.heads, room, width, (kind, device))?;
        Ok(CachedLayer { cache, bias: self.bias(), temperature: self.temperature() })
    }

    /// Queries, keys and values packed, `[B, l, 3C]`, of `x` `[B, l, C]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn packed(&self, x: &Tensor) -> Result<Tensor> {
        linear(x, &self.qkv, Some(&self.bias()))
    }

    /// Bias of the packed projections `[3C]`. Keys have none, because it would cancel in the softmax.
    fn bias(&self) -> Tensor {
        Tensor::cat(&[&self.query_bias, &self.query_bias.zeros_like(), &self.value_bias], 0)
    }

    /// The factor of the normalised queries of each head `[1, H, 1, 1]`; `None` without QK-norm.
    pub fn temperature(&self) -> Option<Tensor> {
        self.log_temperature.as_ref().map(|log| log.clamp_max(MAX_LOG_TEMPERATURE).exp())
    }

    /// How queries and keys become scores, with [`SelfAttention::temperature`].
    pub(super) fn mode<'a>(&self, temperature: Option<&'a Tensor>) -> QueryKey<'a> {
        match temperature {
            Some(temperature) => QueryKey::Normalised(temperature),
            None => {
                let width = self.query_bias.size().first().copied().unwrap_or(0);
                QueryKey::Scaled(0.25 / ((width / self.heads) as f64).sqrt())
            }
        }
    }

    /// Number of heads, weight of queries, keys and values, and the output layer.
    pub(super) fn parts(&self) -> (i64, &Tensor, (&Tensor, &Tensor)) {
        (self.heads, &self.qkv, (&self.projection.0, &self.projection.1))
    }

    /// `[B, l, C]` → the same shape, in the type of `x`. `block` is the number of the block in the cache.
    ///
    /// # Errors
    /// When the cache is full or libtorch fails.
    pub fn forward(&self, x: &Tensor, block: usize, context: &mut Context<'_>) -> Result<Tensor> {
        let mixed = match context {
            Context::TeacherForced(ends) => {
                let temperature = self.temperature();
                block_causal_attention(&self.packed(x)?, self.heads, ends, self.mode(temperature.as_ref()))?
            }
            Context::Cached(cache) => {
                let layer = cache.layer(block)?;
                let packed = linear(x, &self.qkv, Some(&layer.bias))?;
                cached_attention(
                    &packed,
                    self.heads,
                    &mut layer.cache,
                    self.mode(layer.temperature.as_ref()),
                )?
            }
        };
        self.output(&mixed)
    }

    /// The projection of joined heads, `[B, l, C]` → the same shape.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn output(&self, mixed: &Tensor) -> Result<Tensor> {
        linear(mixed, &self.projection.0, Some(&self.projection.1))
    }
}
