//! Self-attention in which a token sees its own scale and all earlier ones.
//!
//! The mask is block-causal, so none is needed: the queries of scale `k` run against the keys of scales
//! up to `k`, one call a scale. In sampling the same holds with the earlier keys out of a cache.

use tch::{Kind, Tensor};
use var_tokenizer::weights::{Builder, Init};

use super::initialisation::Deviations;
use crate::config::TransformerConfig;
use crate::error::Result;

/// Largest logarithm of the learned temperature.
const MAX_LOG_TEMPERATURE: f64 = 4.605_170_185_988_092;
/// Added to no norm, but the least that one divides by.
const NORM_FLOOR: f64 = 1e-12;

/// Where keys and values come from.
#[derive(Debug)]
pub enum Context<'a> {
    /// All scales at once, of these lengths: training.
    TeacherForced(&'a [usize]),
    /// One scale at a time, earlier ones cached: sampling.
    Cached(&'a mut KeyValueCache),
}

/// Keys and values of all blocks, allocated once for the whole schedule.
#[derive(Debug)]
pub struct KeyValueCache {
    /// Per block: keys and values `[B, H, L, d]`.
    layers: Vec<(Tensor, Tensor)>,
    filled: i64,
}

impl KeyValueCache {
    /// Room for `batch` sequences of `config`, in `kind`.
    pub fn new(config: &TransformerConfig, batch: i64, kind: Kind, device: tch::Device) -> Self {
        let shape = [
            batch,
            config.heads as i64,
            config.schedule.tokens() as i64,
            config.head_width() as i64,
        ];
        let empty = || Tensor::empty(shape, (kind, device));
        Self { layers: (0..config.depth).map(|_| (empty(), empty())).collect(), filled: 0 }
    }

    /// Moves on by the `length` tokens that all blocks have written.
    pub fn advance(&mut self, length: usize) {
        self.filled += length as i64;
    }

    /// Writes new keys and values `[B, H, l, d]` of `block` and gives all up to them.
    fn extend(&mut self, block: usize, keys: &Tensor, values: &Tensor) -> Option<(Tensor, Tensor)> {
        let length = keys.size().get(2).copied()?;
        let (all_keys, all_values) = self.layers.get(block)?;
        all_keys.narrow(2, self.filled, length).copy_(keys);
        all_values.narrow(2, self.filled, length).copy_(values);
        let seen = self.filled + length;
        Some((all_keys.narrow(2, 0, seen), all_values.narrow(2, 0, seen)))
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
    projection_weight: Tensor,
    projection_bias: Tensor,
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
        let mut projection = b.sub("proj");
        Self {
            heads,
            log_temperature,
            query_bias,
            value_bias,
            qkv,
            projection_weight: projection.parameter("weight", &[c, c], init.branch_output()),
            projection_bias: projection.parameter("bias", &[c], zero),
        }
    }

    /// Queries, keys and values `[B, H, l, d]` of `x` `[B, l, C]`, and the softmax scale.
    pub fn project(&self, x: &Tensor) -> Result<(Tensor, Tensor, Tensor, f64)> {
        let (batch, length, width) = x.size3()?;
        let kind = x.kind();
        let head_width = width / self.heads;
        let bias = Tensor::cat(&[&self.query_bias, &self.query_bias.zeros_like(), &self.value_bias], 0);
        let packed = x
            .linear(&self.qkv.to_kind(kind), Some(bias.to_kind(kind)))
            .view([batch, length, 3, self.heads, head_width])
            .permute([2, 0, 3, 1, 4]);
        let (q, k, v) = (packed.get(0), packed.get(1), packed.get(2));
        Ok(match &self.log_temperature {
            Some(log) => {
                let temperature = log.clamp_max(MAX_LOG_TEMPERATURE).exp();
                let unit = |t: &Tensor| {
                    let t = t.to_kind(Kind::Float);
                    &t / t.norm_scalaropt_dim(2.0, [-1_i64].as_slice(), true).clamp_min(NORM_FLOOR)
                };
                let q = (unit(&q) * temperature).to_kind(kind);
                (q, unit(&k).to_kind(kind), v, 1.0)
            }
            None => (q, k, v, 0.25 / (head_width as f64).sqrt()),
        })
    }

    /// `[B, l, C]` → the same shape.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn forward(&self, x: &Tensor, block: usize, context: &mut Context<'_>) -> Result<Tensor> {
        let (q, k, v, scale) = self.project(x)?;
        let mixed = match context {
            Context::TeacherForced(lengths) => {
                let mut parts = Vec::with_capacity(lengths.len());
                let mut begin = 0;
                for &length in lengths.iter() {
                    let (length, seen) = (length as i64, begin + length as i64);
                    let keys = k.narrow(2, 0, seen);
                    let values = v.narrow(2, 0, seen);
                    parts.push(attend(&q.narrow(2, begin, length), &keys, &values, scale));
                    begin = seen;
                }
                Tensor::cat(&parts, 2)
            }
            Context::Cached(cache) => {
                let (keys, values) = cache
                    .extend(block, &k, &v)
                    .ok_or_else(|| crate::Error::Config("the cache has fewer blocks than the model".into()))?;
                attend(&q, &keys, &values, scale)
            }
        };
        let (batch, length, width) = x.size3()?;
        let mixed = mixed.transpose(1, 2).reshape([batch, length, width]);
        let kind = x.kind();
        Ok(mixed
            .linear(&self.projection_weight.to_kind(kind), Some(self.projection_bias.to_kind(kind))))
    }
}

/// Plain attention of `q` `[B, H, l, d]` over `k`, `v` `[B, H, n, d]`.
fn attend(q: &Tensor, k: &Tensor, v: &Tensor, scale: f64) -> Tensor {
    let q = if scale == 1.0 { q.shallow_clone() } else { q * scale };
    q.matmul(&k.transpose(2, 3)).softmax(-1, None).matmul(v)
}
