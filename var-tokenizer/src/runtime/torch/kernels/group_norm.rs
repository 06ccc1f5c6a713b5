//! GroupNorm, with the SiLU that follows it in every convolution block, and the layout it works in.
#![allow(unsafe_code)]

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::super::ffi::{handle, made};
use crate::runtime::error::{Error, Result};

unsafe extern "C" {
    fn var_group_norm_silu(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        groups: i64,
        eps: f64,
        silu: i32,
        kind: i32,
    ) -> *mut C_tensor;
    fn var_channels_last(x: *const C_tensor) -> *mut C_tensor;
}

/// Normalises `x` `[B, C, H, W]` (`f32` or `bf16`) over `groups` groups of channels, applies the affine map
/// (`weight`, `bias` `[C]`, f32) and, if `silu`, `y·sigmoid(y)`. Statistics are f32. The result is of
/// `kind`; on a processor its channels are adjacent in memory, which convolutions after it keep and
/// are quicker with.
///
/// # Errors
/// When shapes do not fit, or `kind` is neither `f32` nor `bf16` nor that of `x`.
pub fn group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: i64,
    eps: f64,
    silu: bool,
    kind: Kind,
) -> Result<Tensor> {
    let code = match kind {
        _ if kind == x.kind() => -1,
        Kind::Float => 0,
        Kind::BFloat16 => 1,
        _ => return Err(Error::Torch(format!("group_norm_silu: no result in {kind:?}"))),
    };
    // SAFETY: live handles, borrowed for the call.
    made(unsafe {
        var_group_norm_silu(handle(x), handle(weight), handle(bias), groups, eps, i32::from(silu), code)
    })
}

/// `x` `[B, C, H, W]` with its channels adjacent in memory: same shape, same values, and the layout in
/// which convolutions are quickest. Convolutions, GroupNorm and elementwise operations keep it.
///
/// # Errors
/// When `x` does not have four dimensions.
pub fn channels_last(x: &Tensor) -> Result<Tensor> {
    // SAFETY: a live handle, borrowed for the call.
    made(unsafe { var_channels_last(handle(x)) })
}
