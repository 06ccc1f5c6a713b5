//! The part of the C interface of `cpp/` that all files of this folder need.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char};
use std::ptr::NonNull;

use tch::Tensor;
use torch_sys::C_tensor;

use crate::error::{Error, Result};

/// A `c10d::Store`.
#[repr(C)]
pub(super) struct CStore {
    _private: [u8; 0],
}

/// A `c10d::ProcessGroup`.
#[repr(C)]
pub(super) struct CGroup {
    _private: [u8; 0],
}

/// A `c10d::Reducer`.
#[repr(C)]
pub(super) struct CReducer {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn var_c10d_error() -> *const c_char;
    fn var_c10d_quiet();
}

/// The first line of the message of the last failed call in this thread.
fn last_error() -> Error {
    // SAFETY: a zero-terminated thread-local string that lives until the next failure in this thread; it is
    // copied here.
    let text = unsafe { CStr::from_ptr(var_c10d_error()) }.to_string_lossy();
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("unknown error");
    Error::Distributed(line.to_owned())
}

/// Turns a return code (0 or -1) into a result.
pub(super) fn done(code: i32) -> Result<()> {
    if code == 0 { Ok(()) } else { Err(last_error()) }
}

/// The handle that a constructor stored.
pub(super) fn made<T>(construct: impl FnOnce(*mut *mut T) -> i32) -> Result<NonNull<T>> {
    let mut object = std::ptr::null_mut();
    done(construct(&mut object))?;
    NonNull::new(object).ok_or_else(|| Error::Distributed("c10d made nothing".into()))
}

/// A zero-terminated copy; a text with a zero in it ends there.
pub(super) fn text(text: &str) -> CString {
    let head = text.split('\0').next().unwrap_or_default();
    CString::new(head).unwrap_or_default()
}

/// Handles of a whole list; C++ neither keeps nor deletes them.
pub(super) fn handles<T: AsRef<Tensor>>(tensors: &[T]) -> Vec<*const C_tensor> {
    tensors.iter().map(|t| t.as_ref().as_ptr()).collect()
}

/// Keeps c10d's warnings off standard error, unless `TORCH_CPP_LOG_LEVEL` asks for them.
pub(super) fn quiet() {
    // SAFETY: takes nothing; stores a number that c10's log macros read.
    unsafe { var_c10d_quiet() };
}
