//! How many bytes of tensors a computation holds at most, counted by libtorch's allocator: the same number
//! every time, unlike the memory of a process.
#![allow(unsafe_code)]

use std::ffi::c_void;
use std::marker::PhantomData;

use crate::runtime::error::{Error, Result};

unsafe extern "C" {
    fn var_count_begin() -> *mut c_void;
    fn var_count_most(handle: *mut c_void, again: i32) -> i64;
    fn var_count_end(handle: *mut c_void);
}

/// A running count of what this thread allocates for tensors on the processor, the backward pass included.
/// Tensors that are older than the count are left out. For tests and measurements: while it runs, every
/// allocation takes a lock.
#[derive(Debug)]
pub struct Allocations {
    handle: *mut c_void,
    /// Begun and ended in one thread.
    _here: PhantomData<*const ()>,
}

impl Allocations {
    /// Begins to count. A count within a count takes over until it ends.
    ///
    /// # Errors
    /// When memory runs out.
    pub fn count() -> Result<Self> {
        // SAFETY: no arguments; the handle is ours.
        let handle = unsafe { var_count_begin() };
        if handle.is_null() {
            return Err(Error::Torch("cannot count allocations".into()));
        }
        Ok(Self { handle, _here: PhantomData })
    }

    /// Most bytes held at once since the beginning, or since the last call: the next one tells of what comes
    /// after this one.
    pub fn take_most(&mut self) -> u64 {
        // SAFETY: a live handle, in the thread that made it.
        unsafe { var_count_most(self.handle, 1) }.try_into().unwrap_or(0)
    }
}

impl Drop for Allocations {
    fn drop(&mut self) {
        // SAFETY: a live handle, in the thread that made it, not used again.
        unsafe { var_count_end(self.handle) };
    }
}
