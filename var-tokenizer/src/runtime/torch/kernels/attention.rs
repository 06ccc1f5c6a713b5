//! Attention over scales: a token sees its own scale and all earlier ones, no mask is built.
#![allow(unsafe_code)]

use tch::{Device, Kind, Tensor};
use torch_sys::C_tensor;

use super::super::ffi::{handle, made};
use crate::runtime::error::{Error, Result};

unsafe extern "C" {
    fn var_block_causal_attention(
        qkv: *const C_tensor,
        scale: *const C_tensor,
        heads: i64,
        ends: *const i64,
        count: usize,
        normalise: i32,
    ) -> *mut C_tensor;
    fn var_cached_attention(
        qkv: *const C_tensor,
        scale: *const C_tensor,
        heads: i64,
        cache_k: *const C_tensor,
        cache_v: *const C_tensor,
        start: i64,
        normalise: i32,
    ) -> *mut C_tensor;
}

/// How queries and keys become scores.
#[derive(Debug, Clone, Copy)]
pub enum QueryKey<'a> {
    /// Both divided by their lengths (at least 1e-12), queries multiplied by one factor a head (f32, one
    /// element a head in any shape). The gradient flows into the factors.
    Normalised(&'a Tensor),
    /// Products multiplied by this number.
    Scaled(f64),
}

impl QueryKey<'_> {
    /// Factors `[H]` and whether to normalise.
    pub(super) fn parts(self, heads: i64, device: Device) -> Result<(Tensor, i32)> {
        Ok(match self {
            Self::Normalised(factors) => (factors.f_reshape([-1])?, 1),
            Self::Scaled(factor) => (Tensor::f_full([heads], factor, (Kind::Float, device))?, 0),
        })
    }
}

/// Attention of packed projections `qkv` `[B, L, 3·H·d]` (queries, keys, values, each head by head) over
/// scales that end at the token positions `ends` (rising, the last is L): a token sees all tokens before
/// the end of its scale. Returns `[B, L, H·d]` in the kind of `qkv` (`f32` or `bf16`); softmax and
/// normalisation are f32.
///
/// # Errors
/// When shapes do not fit or `ends` do not rise to L.
pub fn block_causal_attention(qkv: &Tensor, heads: i64, ends: &[i64], mode: QueryKey<'_>) -> Result<Tensor> {
    let (factors, normalise) = mode.parts(heads, qkv.device())?;
    // SAFETY: live handles and an array of `ends.len()` numbers, borrowed for the call.
    made(unsafe {
        var_block_causal_attention(handle(qkv), handle(&factors), heads, ends.as_ptr(), ends.len(), normalise)
    })
}

/// Keys and values of the tokens so far, `[B, H, room, d]` each, allocated once.
#[derive(Debug)]
pub struct AttentionCache {
    keys: Tensor,
    values: Tensor,
    filled: i64,
}

impl AttentionCache {
    /// An empty cache for `room` tokens.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn new(batch: i64, heads: i64, room: i64, dim: i64, options: (Kind, Device)) -> Result<Self> {
        let shape = [batch, heads, room, dim];
        Ok(Self {
            keys: Tensor::f_empty(shape, options)?,
            values: Tensor::f_empty(shape, options)?,
            filled: 0,
        })
    }

    /// Keeps the first `rows` sequences; copies nothing.
    pub fn keep_first(&mut self, rows: i64) {
        self.keys = self.keys.narrow(0, 0, rows);
        self.values = self.values.narrow(0, 0, rows);
    }

    pub(super) fn keys(&self) -> &Tensor {
        &self.keys
    }

    pub(super) fn values(&self) -> &Tensor {
        &self.values
    }

    /// Counts `new` tokens that were written.
    pub(super) fn grow(&mut self, new: i64) {
        self.filled += new;
    }

    /// Tokens held.
    pub fn len(&self) -> i64 {
        self.filled
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.filled == 0
    }
}

/// Attention of the new tokens in `qkv` `[B, l, 3·H·d]` to everything in the cache and to each other; they
/// are added to the cache. Returns `[B, l, H·d]`. Not differentiable.
///
/// # Errors
/// When shapes or kinds do not fit or the cache is full; it is left as it was.
pub fn cached_attention(
    qkv: &Tensor,
    heads: i64,
    cache: &mut AttentionCache,
    mode: QueryKey<'_>,
) -> Result<Tensor> {
    let (factors, normalise) = mode.parts(heads, qkv.device())?;
    let new = *qkv.size().get(1).ok_or_else(|| Error::Torch("attention: expected [B, l, 3·H·d]".into()))?;
    // SAFETY: live handles, borrowed for the call; it writes into the caches, which we hold mutably.
    let mixed = made(unsafe {
        var_cached_attention(
            handle(qkv),
            handle(&factors),
            heads,
            handle(&cache.keys),
            handle(&cache.values),
            cache.filled,
            normalise,
        )
    })?;
    cache.grow(new);
    Ok(mixed)
}
