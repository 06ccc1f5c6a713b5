//! Activations that are computed a second time instead of being kept for the backward pass.
#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{c_char, c_void};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use super::ffi::{handles, made};
use super::guard::guarded;
use crate::runtime::error::{Error, Result};

type Call = unsafe extern "C" fn(*mut c_void, *const *const C_tensor, usize) -> *mut C_tensor;
type Let = unsafe extern "C" fn(*mut c_void);

unsafe extern "C" {
    fn var_leave_error(text: *const c_char, length: usize);
    fn var_recomputed(
        inputs: *const *const C_tensor,
        count: usize,
        call: Call,
        let_go: Let,
        captured: *mut c_void,
    ) -> *mut C_tensor;
}

/// The closure behind the pointer that C++ keeps; failures as text.
type Stretch = Box<dyn Fn(&[Tensor]) -> std::result::Result<Tensor, String> + Send>;

/// `f(inputs)`, of which the backward pass keeps nothing but the inputs: it calls `f` again for the rest.
///
/// Gradients are those of the plain call, to the bit, for the inputs and for trainable leaves (parameters)
/// that `f` captures, which get theirs added to what they have. For that `f` must
/// - give the same whenever it is called: draws come from outside, as inputs or captured numbers;
/// - capture no tensor that is itself computed from parameters: such a tensor is an input.
///
/// `f` runs once more for every backward pass, on the thread that runs the gradients. Second derivatives
/// are not supported. Under [`tch::no_grad`] this is the plain call.
///
/// # Errors
/// When `f` fails or panics, now; later, when it does so in the backward pass, that pass fails
/// ([`Tensor::f_backward`]).
pub fn recomputed<E: Display + 'static>(
    inputs: &[Tensor],
    f: impl Fn(&[Tensor]) -> std::result::Result<Tensor, E> + Send + 'static,
) -> Result<Tensor> {
    let stretch: Stretch = Box::new(move |inputs| f(inputs).map_err(|e| e.to_string()));
    let captured = Box::into_raw(Box::new(stretch)).cast::<c_void>();
    // SAFETY: live handles, borrowed for the call. `captured` is a `Stretch` on the heap, as both functions
    // expect; C++ owns it from here on and lets it go once, whatever happens.
    made(unsafe { var_recomputed(handles(inputs).as_ptr(), inputs.len(), call, let_go, captured) })
}

/// Calls the closure for C++; null, and a message left behind, when it fails.
///
/// # Safety
/// `captured` is a live `Stretch`, `inputs` are `count` live handles.
unsafe extern "C" fn call(
    captured: *mut c_void,
    inputs: *const *const C_tensor,
    count: usize,
) -> *mut C_tensor {
    // No panic may cross the C++ frames.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: the caller's promise.
        let stretch = unsafe { &*captured.cast::<Stretch>() };
        // SAFETY: `count` live handles; each copy is a handle of our own.
        let copy = |i| unsafe { Tensor::clone_from_ptr((*inputs.add(i)).cast_mut()) };
        let inputs: Vec<Tensor> = (0..count).map(copy).collect();
        guarded(|| stretch(&inputs).map_err(Error::Torch))
    }));
    let text = match outcome {
        Ok(Ok(mut output)) => {
            let handle = output.as_mut_ptr();
            // C++ deletes it.
            std::mem::forget(output);
            return handle;
        }
        Ok(Err(Error::Torch(text))) => text,
        Ok(Err(e)) => e.to_string(),
        Err(payload) => format!("a recomputed part of the model failed: {}", said(payload.as_ref())),
    };
    // SAFETY: a text and its length; C++ copies it.
    unsafe { var_leave_error(text.as_ptr().cast(), text.len()) };
    null_mut()
}

/// Lets the closure go.
///
/// # Safety
/// `captured` came out of [`recomputed`] and is not used again.
unsafe extern "C" fn let_go(captured: *mut c_void) {
    // SAFETY: the caller's promise. A panic in a destructor ends the program here, which is as it should be.
    drop(unsafe { Box::from_raw(captured.cast::<Stretch>()) });
}

/// What a panic said.
fn said(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message")
}
