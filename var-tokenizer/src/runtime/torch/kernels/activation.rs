//! GELU in its tanh form.
#![allow(unsafe_code)]

use tch::Tensor;
use torch_sys::C_tensor;

use super::super::ffi::{handle, made};
use crate::runtime::error::Result;

unsafe extern "C" {
    fn var_gelu(x: *const C_tensor) -> *mut C_tensor;
}

/// `½x(1 + tanh(√(2/π)(x + 0.044715x³)))`, elementwise, in the kind of `x`.
///
/// # Errors
/// When libtorch fails.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    // SAFETY: a live handle, borrowed for the call.
    made(unsafe { var_gelu(handle(x)) })
}
