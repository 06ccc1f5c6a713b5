//! Upsampling and convolution in one.
#![allow(unsafe_code)]

use tch::Tensor;
use torch_sys::C_tensor;

use super::super::ffi::{handle, made};
use crate::runtime::error::Result;

unsafe extern "C" {
    fn var_upsample_convolution(
        x: *const C_tensor,
        weight: *const C_tensor,
        bias: *const C_tensor,
    ) -> *mut C_tensor;
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
