//! Linear layers in the kind of their input.
#![allow(unsafe_code)]

use std::ptr::null;

use tch::Tensor;
use torch_sys::C_tensor;

use super::super::ffi::{handle, made};
use crate::runtime::error::Result;

unsafe extern "C" {
    fn var_linear(x: *const C_tensor, weight: *const C_tensor, bias: *const C_tensor) -> *mut C_tensor;
    fn var_wide_linear(x: *const C_tensor, weight: *const C_tensor, bias: *const C_tensor) -> *mut C_tensor;
}

/// `x·weightᵀ + bias` over the last dimension: `x` `[…, in]`, `weight` `[out, in]`, `bias` `[out]`. Computed
/// in the kind of `x`; `f32` weights are cast to it, and get `f32` gradients. In `f32` on a processor the
/// product runs through oneDNN, on AMD processors at twice the rate of `Tensor::linear`.
///
/// # Errors
/// When shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    // SAFETY: live handles, borrowed for the call; null stands for no bias.
    made(unsafe { var_linear(handle(x), handle(weight), bias.map_or(null(), handle)) })
}

/// As [`linear`] with `f32` weight and bias, but the result is `f32`: the product may round its factors to the kind of `x`,
/// never its sums. Tensor cores and processors with `bf16` products do this at the rate of the brief kind.
///
/// # Errors
/// When shapes or kinds do not fit.
pub fn wide_linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    // SAFETY: live handles, borrowed for the call.
    made(unsafe { var_wide_linear(handle(x), handle(weight), handle(bias)) })
}
