//! Nearest codes.
#![allow(unsafe_code)]

use tch::Tensor;
use torch_sys::C_tensor;

use super::super::ffi::{handle, made};
use crate::runtime::error::Result;

unsafe extern "C" {
    fn var_nearest_code(vectors: *const C_tensor, codes: *const C_tensor, lengths: i32) -> *mut C_tensor;
}

/// Index (i64, `[N]`) of the code nearest to each vector: the first `argmin ‖z‖² + ‖e‖² − 2 z·e` over
/// `codes` `[V, c]`, for `vectors` `[N, c]`, all in f32 whatever the kinds. Not differentiable.
///
/// # Errors
/// When shapes do not fit.
pub fn nearest_code(vectors: &Tensor, codes: &Tensor) -> Result<Tensor> {
    // SAFETY: live handles, borrowed for the call.
    made(unsafe { var_nearest_code(handle(vectors), handle(codes), 1) })
}

/// Index (i64, `[N]`) of the code with the largest product with each vector: the first `argmax z·e`, which
/// for both of unit length is the largest cosine. As [`nearest_code`] otherwise.
///
/// # Errors
/// When shapes do not fit.
pub fn most_similar_code(vectors: &Tensor, codes: &Tensor) -> Result<Tensor> {
    // SAFETY: live handles, borrowed for the call.
    made(unsafe { var_nearest_code(handle(vectors), handle(codes), 0) })
}
