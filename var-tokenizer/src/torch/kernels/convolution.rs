//! Convolutions in the kind of their input.
#![allow(unsafe_code)]

use tch::Tensor;
use torch_sys::C_tensor;

use super::super::ffi::{handle, made};
use crate::error::Result;

unsafe extern "C" {
    fn var_convolution(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
        stride: i64,
        padding: i64,
    ) -> *mut C_tensor;
    fn var_upsample_convolution(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
    ) -> *mut C_tensor;
}

/// `x` `[B, I, H, W]` filtered with `weight` `[O, I, h, w]` plus `bias` `[O]`, both cast to the kind of `x`
/// (see [`super::cast_weight`]). Quickest in the layout of [`super::channels_last`], which it keeps.
///
/// # Errors
/// When shapes do not fit.
pub fn convolution(x: &Tensor, weight: &Tensor, bias: &Tensor, stride: i64, padding: i64) -> Result<Tensor> {
    // SAFETY: live handles, borrowed for the call.
    made(unsafe { var_convolution(handle(x), handle(weight), handle(bias), stride, padding) })
}

/// `x` `[B, I, H, W]` upsampled to twice the side (nearest neighbour), then filtered with `weight`
/// `[O, I, 3, 3]` with padding 1, plus `bias` `[O]`: `[B, O, 2H, 2W]`. Computed as one transposed
/// convolution on a processor, with 4/9 of the products; equal but for rounding.
///
/// # Errors
/// When shapes do not fit.
pub fn upsample_convolution(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    // SAFETY: live handles, borrowed for the call.
    made(unsafe { var_upsample_convolution(handle(x), handle(weight), handle(bias)) })
}
