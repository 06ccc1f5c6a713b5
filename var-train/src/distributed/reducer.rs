//! Averages gradients over all ranks during the backward pass (c10d's Reducer).
#![allow(unsafe_code)]

use std::ptr::NonNull;

use tch::Tensor;
use torch_sys::C_tensor;

use super::ffi::{CGroup, CReducer, done, handles, made};
use super::group::Group;
use crate::error::Result;

unsafe extern "C" {
    fn var_reducer_new(
        group: *mut CGroup,
        parameters: *const *const C_tensor,
        n: usize,
        first: i64,
        bucket: i64,
        out: *mut *mut CReducer,
    ) -> i32;
    fn var_reducer_expect(reducer: *mut CReducer) -> i32;
    fn var_reducer_free(reducer: *mut CReducer);
}

/// Bytes of the first bucket: small, so that sending starts early.
const FIRST_BUCKET: i64 = 1 << 20;
/// Bytes of the other buckets, as in DistributedDataParallel.
const BUCKET: i64 = 25 << 20;

/// Averages gradients in buckets, each as soon as the backward pass has computed it. After the pass every rank has the same
/// bits in `.grad`. Gradients may be dropped between steps: buckets have memory of their own.
#[derive(Debug)]
pub(crate) struct Reducer(NonNull<CReducer>);

// SAFETY: used by one thread at a time; autograd's own threads are the C++ side's business.
unsafe impl Send for Reducer {}

impl Reducer {
    /// A reducer of `parameters`, which must require gradients and be the same on all ranks in the same
    /// order. Every one of them must get a gradient in every backward pass.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn new<T: AsRef<Tensor>>(group: &Group, parameters: &[T]) -> Result<Self> {
        let list = handles(parameters);
        made(|out| {
            // SAFETY: a live group and live handles, of which C++ keeps references; a place for one pointer.
            unsafe { var_reducer_new(group.handle(), list.as_ptr(), list.len(), FIRST_BUCKET, BUCKET, out) }
        })
        .map(Self)
    }

    /// Lets the next backward pass average its gradients and those of the passes before it. Without this call a pass adds
    /// to the gradients of this rank only.
    ///
    /// # Errors
    /// When another rank is lost, or a parameter got no gradient in the last pass.
    pub(crate) fn expect(&self) -> Result<()> {
        // SAFETY: a live reducer.
        done(unsafe { var_reducer_expect(self.0.as_ptr()) })
    }
}

impl Drop for Reducer {
    fn drop(&mut self) {
        // SAFETY: made by `new` on the C++ side, and unused after this.
        unsafe { var_reducer_free(self.0.as_ptr()) };
    }
}
