//! The bytes of a tensor, to be filled by someone else than libtorch.
#![allow(unsafe_code)]

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::ffi::handle;
use crate::runtime::error::{Error, Result};

unsafe extern "C" {
    fn var_version(x: *const C_tensor) -> i64;
    fn var_written(x: *const C_tensor);
}

/// Rises with every change of `tensor` in place by libtorch's operations or [`fill_bytes`]. The fused optimizer and
/// collectives do not raise it.
pub(super) fn version(tensor: &Tensor) -> i64 {
    // SAFETY: a live handle, borrowed for the call.
    unsafe { var_version(handle(tensor)) }
}

/// Lets `fill` write the memory of `tensor`, which must lie on the CPU, contiguous.
///
/// # Errors
/// When it does not, or `fill` fails.
pub(crate) fn fill_bytes(tensor: &Tensor, fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<()> {
    if tensor.device() != Device::Cpu || !tensor.is_contiguous() {
        return Err(Error::Torch("only contiguous tensors on the CPU can be filled in place".into()));
    }
    let length = tensor.numel() * tensor.kind().elt_size_in_bytes();
    if length == 0 {
        return fill(&mut []);
    }
    // SAFETY: a contiguous CPU tensor owns `length` bytes from its data pointer on, for as long as
    // `tensor` lives; any bytes are a value of every numeric kind. Nobody else writes meanwhile: tensors
    // are not shared between threads here, and the slice does not leave `fill`.
    let bytes = unsafe { std::slice::from_raw_parts_mut(tensor.data_ptr().cast::<u8>(), length) };
    let filled = fill(bytes);
    // SAFETY: a live handle, borrowed for the call.
    unsafe { var_written(handle(tensor)) };
    filled
}

/// Lets `read` see the memory of `tensor`, which must lie on the CPU, contiguous.
///
/// # Errors
/// When it does not, or `read` fails.
pub(crate) fn read_bytes(tensor: &Tensor, read: impl FnOnce(&[u8]) -> Result<()>) -> Result<()> {
    if tensor.device() != Device::Cpu || !tensor.is_contiguous() {
        return Err(Error::Torch("only contiguous tensors on the CPU can be read in place".into()));
    }
    let length = tensor.numel() * tensor.kind().elt_size_in_bytes();
    if length == 0 {
        return read(&[]);
    }
    // SAFETY: as above, without writing.
    let bytes = unsafe { std::slice::from_raw_parts(tensor.data_ptr().cast::<u8>(), length) };
    read(bytes)
}
