//! Adaptive LayerNorm and the gated residual connection.
#![allow(unsafe_code)]

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::super::ffi::{handle, made};
use crate::runtime::error::Result;

unsafe extern "C" {
    fn var_layer_norm_modulate(
        x: *const C_tensor,
        scale: *const C_tensor,
        shift: *const C_tensor,
        eps: f64,
        kind: i32,
    ) -> *mut C_tensor;
    fn var_gated_add(x: *const C_tensor, y: *const C_tensor, gate: *const C_tensor) -> *mut C_tensor;
}

/// `LN(x)·(1 + scale) + shift` over the last dimension of `x` `[B, L, C]`, computed in f32 whatever the
/// kinds, as `kind` (`f32`, `bf16` or `fp16`). Quickest with `scale` and `shift` `[B, 1, C]` in f32; what
/// broadcasts to `[B, L, C]` is taken.
///
/// # Errors
/// When shapes do not fit.
pub fn layer_norm_modulate(
    x: &Tensor,
    scale: &Tensor,
    shift: &Tensor,
    eps: f64,
    kind: Kind,
) -> Result<Tensor> {
    let kind = match kind {
        Kind::BFloat16 => 1,
        Kind::Half => 2,
        _ => 0,
    };
    // SAFETY: live handles, borrowed for the call.
    made(unsafe { var_layer_norm_modulate(handle(x), handle(scale), handle(shift), eps, kind) })
}

/// `x + gate·y`, in the kind of `x`: `x` and `y` `[B, L, C]`, each in `f32` or `bf16` (keep the residual
/// stream `x` in f32), `gate` `[B, 1, C]` in f32.
///
/// # Errors
/// When shapes do not fit.
pub fn gated_add(x: &Tensor, y: &Tensor, gate: &Tensor) -> Result<Tensor> {
    // SAFETY: live handles, borrowed for the call.
    made(unsafe { var_gated_add(handle(x), handle(y), handle(gate)) })
}
