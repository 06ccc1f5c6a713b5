//! 3×3 convolutions without gradient, by Winograd's F(2×2, 3×3): 16 products per 2×2 pixels instead of 36.
#![allow(unsafe_code)]

use std::sync::{Mutex, PoisonError};

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::super::ffi::{handle, made};
use super::super::memory::version;
use crate::runtime::error::Result;

unsafe extern "C" {
    fn var_winograd_applies(x: *const C_tensor) -> i32;
    fn var_winograd_filter(weight: *const C_tensor, brief: i32) -> *mut C_tensor;
    fn var_winograd(
        x: *const C_tensor,
        filter: *const C_tensor,
        bias: *const C_tensor,
        residual: *const C_tensor,
    ) -> *mut C_tensor;
}

/// Whether a convolution of `x` can go by Winograd: gradients are off, and the processor multiplies the kind of `x`
/// (`f32`, or `bf16` where it has products of pairs and no matrix units, whose direct convolution is faster).
pub fn winograd_applies(x: &Tensor) -> bool {
    // SAFETY: a live handle, borrowed for the call.
    unsafe { var_winograd_applies(handle(x)) == 1 }
}

/// The transformed filter of one convolution: 16/9 of its size. It is made at the first use, and again when the weight
/// has changed. Steps of the fused optimizer go unnoticed: for weights that are not trained.
#[derive(Debug, Default)]
pub struct WinogradFilter(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    address: usize,
    version: i64,
    kind: Kind,
    filter: Tensor,
}

impl WinogradFilter {
    /// Convolves `x` `[B, I, H, W]` (`f32` or `bf16`) with `weight` `[O, I, 3, 3]` and padding 1, and adds `bias` `[O]` and
    /// the residual `[B, O, H, W]`: `[B, O, H, W]` of the residual's kind, or that of `x`. The sums are `f32`. I and O are
    /// multiples of 32. Call it only where [`winograd_applies`].
    ///
    /// # Errors
    /// When shapes do not fit.
    pub fn convolve(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let filter = self.filter(weight, x.kind())?;
        let residual = residual.map_or(std::ptr::null(), handle);
        // SAFETY: live handles (or null, which C++ takes as none), borrowed for the call.
        made(unsafe { var_winograd(handle(x), handle(&filter), handle(bias), residual) })
    }

    fn filter(&self, weight: &Tensor, kind: Kind) -> Result<Tensor> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let address = weight.data_ptr() as usize;
        let version = version(weight);
        let current = |made: &&Made| (made.address, made.version, made.kind) == (address, version, kind);
        if let Some(made) = kept.as_ref().filter(current) {
            return Ok(made.filter.shallow_clone());
        }
        // SAFETY: a live handle, borrowed for the call.
        let filter = made(unsafe { var_winograd_filter(handle(weight), i32::from(kind == Kind::BFloat16)) })?;
        *kept = Some(Made { address, version, kind, filter: filter.shallow_clone() });
        Ok(filter)
    }
}
