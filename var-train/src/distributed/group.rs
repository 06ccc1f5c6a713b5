//! Collectives over all ranks (c10d's ProcessGroupGloo), on tensors in main memory.
#![allow(unsafe_code)]

use std::ffi::c_char;
use std::ptr::NonNull;
use std::time::Duration;

use tch::Tensor;
use torch_sys::C_tensor;

use super::ffi::{CGroup, CStore, done, handles, made, text};
use super::store::{Store, milliseconds};
use crate::error::Result;

unsafe extern "C" {
    fn var_group_gloo(
        store: *mut CStore,
        rank: i32,
        size: i32,
        address: *const c_char,
        timeout: i64,
        out: *mut *mut CGroup,
    ) -> i32;
    fn var_group_free(group: *mut CGroup);
    fn var_group_all_reduce(group: *mut CGroup, tensor: *const C_tensor) -> i32;
    fn var_group_sum(group: *mut CGroup, own: *const C_tensor, out: *mut *mut C_tensor) -> i32;
    fn var_group_broadcast(group: *mut CGroup, tensors: *const *const C_tensor, n: usize, root: i32) -> i32;
    fn var_group_all_gather(group: *mut CGroup, all: *const C_tensor, own: *const C_tensor) -> i32;
    fn var_group_reduce_scatter(group: *mut CGroup, own: *const C_tensor, all: *const C_tensor) -> i32;
    fn var_group_barrier(group: *mut CGroup) -> i32;
    fn var_group_same_shapes(group: *mut CGroup, tensors: *const *const C_tensor, n: usize) -> i32;
}

/// Ranks that are connected with each other. Every rank calls the same collectives in the same order. A collective fails
/// when a connection breaks or the group's timeout passes. Then the group is unusable.
#[derive(Debug)]
pub(crate) struct Group(NonNull<CGroup>);

// SAFETY: c10d's process groups may be used and dropped in any thread, one call at a time.
unsafe impl Send for Group {}

impl Group {
    /// Connects `rank` of `size` with the others through `store`. They reach this rank at the local `address`; `None` takes
    /// the interface of `GLOO_SOCKET_IFNAME`.
    ///
    /// # Errors
    /// When a rank does not come within `timeout` or cannot be reached.
    pub(crate) fn gloo(
        store: &Store,
        rank: usize,
        size: usize,
        address: Option<&str>,
        timeout: Duration,
    ) -> Result<Self> {
        let (address, timeout) = (text(address.unwrap_or_default()), milliseconds(timeout));
        let number = |n: usize| i32::try_from(n).unwrap_or(i32::MAX);
        made(|out| {
            // SAFETY: a live store, of which C++ keeps a reference; a string that outlives the call; a place
            // for one pointer.
            unsafe {
                var_group_gloo(store.handle(), number(rank), number(size), address.as_ptr(), timeout, out)
            }
        })
        .map(Self)
    }

    /// Sums `tensor` over all ranks, in place.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn all_reduce(&self, tensor: &Tensor) -> Result<()> {
        // SAFETY: live handles, borrowed for the call, which ends when the data are there.
        done(unsafe { var_group_all_reduce(self.0.as_ptr(), tensor.as_ptr()) })
    }

    /// The sum of `own` over all ranks, with a gradient: the sum of all ranks' gradients by it. All ranks run backward
    /// through it, in the same order.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn sum(&self, own: &Tensor) -> Result<Tensor> {
        // SAFETY: live handles; a place for one pointer.
        let sum = made(|out| unsafe { var_group_sum(self.0.as_ptr(), own.as_ptr(), out) })?;
        // SAFETY: a tensor that C++ made for us.
        Ok(unsafe { Tensor::from_ptr(sum.as_ptr()) })
    }

    /// Overwrites `tensors` with those of rank `root`.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn broadcast<T: AsRef<Tensor>>(&self, tensors: &[T], root: usize) -> Result<()> {
        let (list, root) = (handles(tensors), i32::try_from(root).unwrap_or(i32::MAX));
        // SAFETY: as above, for `list.len()` handles.
        done(unsafe { var_group_broadcast(self.0.as_ptr(), list.as_ptr(), list.len(), root) })
    }

    /// Collects `own` of every rank, in order of rank, into `all` `[size · own]`.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn all_gather(&self, all: &Tensor, own: &Tensor) -> Result<()> {
        // SAFETY: as above.
        done(unsafe { var_group_all_gather(self.0.as_ptr(), all.as_ptr(), own.as_ptr()) })
    }

    /// Sums `all` `[size · own]` over all ranks, and stores the part of this rank in `own`.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn reduce_scatter(&self, own: &Tensor, all: &Tensor) -> Result<()> {
        // SAFETY: as above.
        done(unsafe { var_group_reduce_scatter(self.0.as_ptr(), own.as_ptr(), all.as_ptr()) })
    }

    /// Waits until every rank is here.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn barrier(&self) -> Result<()> {
        // SAFETY: a live group.
        done(unsafe { var_group_barrier(self.0.as_ptr()) })
    }

    /// Checks that every rank has as many `tensors` as rank 0, of the same shapes and kinds.
    ///
    /// # Errors
    /// Names the first difference; or another rank is lost.
    pub(crate) fn same_shapes<T: AsRef<Tensor>>(&self, tensors: &[T]) -> Result<()> {
        let list = handles(tensors);
        // SAFETY: as above, for `list.len()` handles.
        done(unsafe { var_group_same_shapes(self.0.as_ptr(), list.as_ptr(), list.len()) })
    }

    /// The handle for C++ that keeps a reference of its own.
    pub(super) fn handle(&self) -> *mut CGroup {
        self.0.as_ptr()
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // SAFETY: made by `new` on the C++ side, and unused after this.
        unsafe { var_group_free(self.0.as_ptr()) };
    }
}
