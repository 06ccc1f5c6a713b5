//! The C interface of this folder's C++ files, behind safe calls.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char};

use tch::Tensor;
use torch_sys::C_tensor;

use crate::runtime::error::{Error, Result};

unsafe extern "C" {
    fn var_last_error() -> *const c_char;
}

/// The message that the last failed C++ call of this thread left.
pub(super) fn last_error() -> Error {
    // SAFETY: the C++ side hands out a zero-terminated thread-local string that lives until its next
    // failure in this thread; it is copied here.
    let text = unsafe { CStr::from_ptr(var_last_error()) };
    super::guard::libtorch_error(&text.to_string_lossy())
}

/// Takes over a tensor that C++ made; null means that it left a message.
pub(super) fn made(tensor: *mut C_tensor) -> Result<Tensor> {
    if tensor.is_null() {
        return Err(last_error());
    }
    // SAFETY: not null, and the C++ side made it with `new` for us alone; tch deletes it.
    Ok(unsafe { Tensor::from_ptr(tensor) })
}

/// Turns a return code (0 or -1) into a result.
pub(super) fn done(code: i32) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(last_error()) }
}

/// The handle that C++ reads; it neither keeps nor deletes it.
pub(super) fn handle(tensor: &Tensor) -> *const C_tensor {
    tensor.as_ptr()
}

/// Handles of a whole list.
pub(super) fn handles<T: AsRef<Tensor>>(tensors: &[T]) -> Vec<*const C_tensor> {
    tensors.iter().map(|t| t.as_ref().as_ptr()).collect()
}
