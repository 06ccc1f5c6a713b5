//! AdamW and gradient clipping over whole lists of tensors at once.
#![allow(unsafe_code)]

use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::ffi::{done, handles};
use crate::runtime::error::{Error, Result};

unsafe extern "C" {
    fn var_fused_adamw(
        parameters: *const *const C_tensor,
        gradients: *const *const C_tensor,
        first: *const *const C_tensor,
        second: *const *const C_tensor,
        steps: *const *const C_tensor,
        count: usize,
        lr: f64,
        beta1: f64,
        beta2: f64,
        weight_decay: f64,
        eps: f64,
    ) -> i32;
    fn var_clip_grad_norm(gradients: *const *const C_tensor, count: usize, max: f64, norm: *mut f64) -> i32;
    fn var_approach(
        averages: *const *const C_tensor,
        values: *const *const C_tensor,
        count: usize,
        weight: f64,
    ) -> i32;
    fn var_multiply(tensors: *const *const C_tensor, count: usize, factor: f64) -> i32;
}

/// Settings of one AdamW step; those of a group of parameters may differ from another's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamW {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// Decoupled weight decay (times `lr`).
    pub weight_decay: f64,
}

impl Default for AdamW {
    /// The published recipe without decay: β (0.9, 0.95), eps 1e-8, lr 1e-4.
    fn default() -> Self {
        Self { lr: 1e-4, beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.0 }
    }
}

/// A parameter and what AdamW remembers of it.
#[derive(Debug)]
pub struct Slot {
    /// The parameter itself (f32, shares its data with the model).
    pub parameter: Tensor,
    /// Running mean of the gradient.
    pub first: Tensor,
    /// Running mean of its square.
    pub second: Tensor,
    /// Steps taken, a scalar f32 tensor.
    pub step: Tensor,
}

impl Slot {
    /// Zero moments for `parameter`.
    pub fn new(parameter: &Tensor) -> Self {
        let data = parameter.detach();
        Self {
            first: data.zeros_like(),
            second: data.zeros_like(),
            step: Tensor::zeros([], (Kind::Float, data.device())),
            parameter: parameter.shallow_clone(),
        }
    }
}

/// One step on every parameter in `slots` that has a gradient: all in one fused kernel, in `f32`. The
/// result depends on nothing but its inputs (no threads, no order).
///
/// # Errors
/// When libtorch fails, for example on tensors of different shapes.
pub fn adamw_step(slots: &mut [Slot], settings: &AdamW) -> Result<()> {
    let (trained, gradients): (Vec<&Slot>, Vec<Tensor>) = slots
        .iter()
        .map(|slot| (slot, slot.parameter.grad()))
        .filter(|(_, gradient)| gradient.defined())
        .unzip();
    adamw_update(&trained, &gradients, settings)
}

/// The same with gradients that are given, one for each of `slots`.
///
/// # Errors
/// As [`adamw_step`]; when there are not as many gradients as slots.
pub fn adamw_update(slots: &[&Slot], gradients: &[Tensor], settings: &AdamW) -> Result<()> {
    if slots.len() != gradients.len() {
        let message = format!("AdamW: {} gradients for {} parameters", gradients.len(), slots.len());
        return Err(Error::Config(message));
    }
    if slots.is_empty() {
        return Ok(());
    }
    let list =
        |of: fn(&Slot) -> &Tensor| slots.iter().map(|slot| of(slot).shallow_clone()).collect::<Vec<_>>();
    let (parameters, first, second, steps) =
        (list(|s| &s.parameter), list(|s| &s.first), list(|s| &s.second), list(|s| &s.step));
    // SAFETY: five arrays of `count` live handles, borrowed for the call.
    done(unsafe {
        var_fused_adamw(
            handles(&parameters).as_ptr(),
            handles(gradients).as_ptr(),
            handles(&first).as_ptr(),
            handles(&second).as_ptr(),
            handles(&steps).as_ptr(),
            parameters.len(),
            settings.lr,
            settings.beta1,
            settings.beta2,
            settings.weight_decay,
            settings.eps,
        )
    })
}

/// Scales the gradients of `parameters` in place so that their common norm is at most `max`, and
/// returns the norm they had. Skips parameters without a gradient. A norm that is not finite is returned as it is,
/// and nothing is scaled: with a scaled loss it tells an overflow, else the caller stops.
///
/// # Errors
/// When libtorch fails, or `max` is not a positive number.
pub fn clip_grad_norm<T: AsRef<Tensor>>(parameters: &[T], max: f64) -> Result<f64> {
    let gradients: Vec<Tensor> =
        parameters.iter().map(|p| p.as_ref().grad()).filter(Tensor::defined).collect();
    if gradients.is_empty() {
        return Ok(0.0);
    }
    if max.is_nan() || max <= 0.0 {
        return Err(Error::Config(format!("largest gradient norm {max}: expected a positive number")));
    }
    let mut norm = 0.0;
    // SAFETY: `count` live handles, borrowed for the call, and a place for one f64.
    done(unsafe { var_clip_grad_norm(handles(&gradients).as_ptr(), gradients.len(), max, &mut norm) })?;
    Ok(norm)
}

/// Moves every tensor of `averages` by the share `weight` of the way to its counterpart in `values`, in place:
/// one step of an exponential moving average.
///
/// # Errors
/// When the lists or shapes differ.
pub fn approach<T: AsRef<Tensor>>(averages: &[T], values: &[T], weight: f64) -> Result<()> {
    if averages.len() != values.len() {
        return Err(Error::Config(format!("{} averages of {} tensors", averages.len(), values.len())));
    }
    if averages.is_empty() {
        return Ok(());
    }
    // SAFETY: two arrays of `count` live handles, borrowed for the call.
    done(unsafe {
        var_approach(handles(averages).as_ptr(), handles(values).as_ptr(), averages.len(), weight)
    })
}

/// Multiplies the gradients of `parameters` by `factor` in place.
///
/// # Errors
/// When libtorch fails.
pub fn scale_gradients<T: AsRef<Tensor>>(parameters: &[T], factor: f64) -> Result<()> {
    let gradients: Vec<Tensor> =
        parameters.iter().map(|p| p.as_ref().grad()).filter(Tensor::defined).collect();
    if gradients.is_empty() {
        return Ok(());
    }
    // SAFETY: `count` live handles, borrowed for the call.
    done(unsafe { var_multiply(handles(&gradients).as_ptr(), gradients.len(), factor) })
}

/// Forgets the gradients of `parameters`; the next backward pass makes fresh ones instead of adding.
///
/// # Errors
/// When libtorch fails.
pub fn clear_gradients<T: AsRef<Tensor>>(parameters: &[T]) -> Result<()> {
    unsafe extern "C" {
        fn var_clear_gradients(parameters: *const *const C_tensor, count: usize) -> i32;
    }
    // SAFETY: `count` live handles, borrowed for the call.
    done(unsafe { var_clear_gradients(handles(parameters).as_ptr(), parameters.len()) })
}
