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

/// Keys and values of all blocks, allocated once for all tokens.
#[derive(Debug)]
pub struct KeyValueCache {
    layers: Vec<AttentionCache>,
}

impl KeyValueCache {
    /// An empty cache for `batch` sequences of `config`, in `kind`.
    ///
    /// # Errors
    /// When memory runs out.
    pub(crate) fn new(
        config: &TransformerConfig,
        batch: i64,
        kind: Kind,
        device: tch::Device,
    ) -> Result<Self> {
        let (heads, width) = (config.heads as i64, config.head_width() as i64);
        let room = config.schedule.tokens() as i64;
        let layers = (0..config.depth)
            .map(|_| AttentionCache::new(batch, heads, room, width, (kind, device)))
            .collect::<Result<_>>()?;
        Ok(Self { layers })
    }

    /// Keeps the first `rows` sequences.
    pub(crate) fn keep_first(&mut self, rows: i64) {
        self.layers.iter_mut().for_each(|layer| layer.keep_first(rows));
    }
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

    /// Queries, keys and values packed, `[B, l, 3C]`, of `x` `[B, l, C]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn packed(&self, x: &Tensor) -> Result<Tensor> {
        // Keys have no bias, because it would cancel in the softmax.
        let bias = Tensor::cat(&[&self.query_bias, &self.query_bias.zeros_like(), &self.value_bias], 0);
        linear(x, &self.qkv, Some(&bias))
    }

    /// The factor of the normalised queries of each head `[1, H, 1, 1]`; `None` without QK-norm.
    pub fn temperature(&self) -> Option<Tensor> {
        self.log_temperature.as_ref().map(|log| log.clamp_max(MAX_LOG_TEMPERATURE).exp())
    }

    /// `[B, l, C]` → the same shape, in the type of `x`. `block` is the number of the block in the cache.
    ///
    /// # Errors
    /// When the cache is full or libtorch fails.
    pub fn forward(&self, x: &Tensor, block: usize, context: &mut Context<'_>) -> Result<Tensor> {
        let packed = self.packed(x)?;
        let head_width = x.size().last().copied().unwrap_or(0) / self.heads;
        let temperature = self.temperature();
        let mode = match &temperature {
            Some(temperature) => QueryKey::Normalised(temperature),
            None => QueryKey::Scaled(0.25 / (head_width as f64).sqrt()),
        };
        let mixed = match context {
            Context::TeacherForced(ends) => block_causal_attention(&packed, self.heads, ends, mode)?,
            Context::Cached(cache) => {
                let layer = cache.layers.get_mut(block).ok_or_else(|| {
                    crate::Error::Config("the cache has fewer blocks than the model".into())
                })?;
                cached_attention(&packed, self.heads, layer, mode)?
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
