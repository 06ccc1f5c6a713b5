//! Cross-entropy per token.
#![allow(unsafe_code)]

use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use super::super::ffi::{done, handle, made};
use crate::runtime::error::Result;

unsafe extern "C" {
    fn var_cross_entropy(
        logits: *const C_tensor,
        targets: *const C_tensor,
        smoothing: f64,
        out: *mut *mut C_tensor,
    ) -> i32;
}

/// What [`cross_entropy`] finds out about each token.
#[derive(Debug)]
pub struct TokenLosses {
    /// Loss in nats, `[N]` f32; differentiable.
    pub loss: Tensor,
    /// 1 where no logit is larger than the target's, else 0, `[N]` f32.
    pub hit: Tensor,
}

/// Softmax cross-entropy of `logits` `[N, V]` (f32 or bf16; sums in f32) with `targets` `[N]` (i64),
/// unreduced. `smoothing` moves that share of the target evenly to all classes.
///
/// # Errors
/// When shapes do not fit or a target is not below V.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor, smoothing: f64) -> Result<TokenLosses> {
    let mut out = [null_mut(); 2];
    // SAFETY: live handles, borrowed for the call, and room for the two tensors that it makes.
    done(unsafe { var_cross_entropy(handle(logits), handle(targets), smoothing, out.as_mut_ptr()) })?;
    let [loss, hit] = out;
    Ok(TokenLosses { loss: made(loss)?, hit: made(hit)? })
}
