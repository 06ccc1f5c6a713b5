//! A whole transformer block on a few rows, for sampling.
#![allow(unsafe_code)]

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::super::ffi::{handle, made};
use super::attention::{AttentionCache, QueryKey};
use crate::runtime::error::{Error, Result};

unsafe extern "C" {
    fn var_block_step_fits(x: *const C_tensor, weight: *const C_tensor, heads: i64) -> i32;
    fn var_block_step(
        tensors: *const *const C_tensor,
        heads: i64,
        start: i64,
        normalise: i32,
        eps: f64,
    ) -> *mut C_tensor;
}

/// The parameters of a block: attention, then feed-forward, each modulated and gated.
#[derive(Debug)]
pub struct BlockStep<'a> {
    /// Gates, scales and shifts of the two branches, in the order γ1 γ2 scale1 scale2 shift1 shift2: `[B, 1, C]`, `f32`.
    pub modulation: [&'a Tensor; 6],
    /// Weight `[3C, C]` and bias `[3C]` of queries, keys and values. All weights have one kind, `f32` or `bf16`, and all
    /// biases are `f32`.
    pub qkv: (&'a Tensor, &'a Tensor),
    /// Weight `[C, C]` and bias of the attention's output.
    pub projection: (&'a Tensor, &'a Tensor),
    /// Weight `[F, C]` and bias of the feed-forward's first layer.
    pub expand: (&'a Tensor, &'a Tensor),
    /// Weight `[C, F]` and bias of its second layer.
    pub contract: (&'a Tensor, &'a Tensor),
    /// Number of heads.
    pub heads: i64,
    /// Added to the variance in each LayerNorm.
    pub epsilon: f64,
}

impl BlockStep<'_> {
    /// Whether the fused code takes `x` `[B, l, C]` in `kind`: on a processor, weights of this kind, at most 8 rows `B·l`,
    /// and no gradients.
    pub fn fits(&self, x: &Tensor, kind: Kind) -> bool {
        // SAFETY: live handles, borrowed for the call.
        self.qkv.0.kind() == kind
            && unsafe { var_block_step_fits(handle(x), handle(self.qkv.0), self.heads) == 1 }
    }

    /// The residual stream `x` `[B, l, C]` (`f32`) after the block. Its tokens are added to the cache. Equal, to the bit,
    /// to the separate operations of this module. Not differentiable.
    ///
    /// # Errors
    /// When shapes or kinds do not fit or the cache is full; it is left as it was.
    pub fn run(&self, x: &Tensor, cache: &mut AttentionCache, mode: QueryKey<'_>) -> Result<Tensor> {
        let (factors, normalise) = mode.parts(self.heads, x.device())?;
        let new = *x.size().get(1).ok_or_else(|| Error::Torch("block step: expected [B, l, C]".into()))?;
        let [g1, g2, scale1, scale2, shift1, shift2] = self.modulation;
        let layers = [self.qkv, self.projection, self.expand, self.contract];
        let tensors: Vec<_> = [x, g1, g2, scale1, scale2, shift1, shift2]
            .into_iter()
            .chain(layers.into_iter().flat_map(|(weight, bias)| [weight, bias]))
            .chain([&factors, cache.keys(), cache.values()])
            .map(handle)
            .collect();
        // SAFETY: 18 live handles, borrowed for the call; it writes into the caches, which we hold mutably.
        let x = made(unsafe {
            var_block_step(tensors.as_ptr(), self.heads, cache.len(), normalise, self.epsilon)
        })?;
        cache.grow(new);
        Ok(x)
    }
}
