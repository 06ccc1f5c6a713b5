//! GroupNorm, with the SiLU that follows it in every convolution block, and the layout it works in.
#![allow(unsafe_code)]

use tch::Tensor;
use torch_sys::C_tensor;

use super::super::ffi::{handle, made};
use crate::runtime::error::Result;

unsafe extern "C" {
    fn var_group_norm_silu(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        groups: i64,
        eps: f64,
        silu: i32,
    ) -> *mut C_tensor;
    fn var_channels_last(x: *const C_tensor) -> *mut C_tensor;
}

/// Normalises `x` `[B, C, H, W]` (`f32` or `bf16`) over `groups` groups of channels, applies the affine map
/// (`weight`, `bias` `[C]`, f32) and, if `silu`, `y·sigmoid(y)`. Statistics are f32. The result has the
/// kind of `x`; on a processor its channels are adjacent in memory, which convolutions after it keep and
/// are quicker with.
///
/// # Errors
/// When shapes do not fit.
pub fn group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: i64,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    // SAFETY: live handles, borrowed for the call.
    made(unsafe {
        var_group_norm_silu(handle(x), handle(weight), handle(bias), groups, eps, i32::from(silu))
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
