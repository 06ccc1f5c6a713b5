//! libtorch exceptions as errors. The operators of tch panic; model code uses them freely, and [`guarded`] surrounds it.

use std::any::Any;
use std::panic::resume_unwind;

use crate::runtime::error::Error;
use crate::runtime::panics::caught;

/// Runs `f`. A libtorch exception in it, which tch turns into a panic, comes back as [`Error::Torch`] with the first
/// line of its message.
///
/// # Errors
/// What `f` returns, and libtorch's exceptions.
///
/// # Panics
/// Other panics (mistakes in the program) pass through unchanged.
pub fn guarded<T, E: From<Error>>(f: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    match caught(|payload| exception(payload).is_some(), f) {
        Ok(result) => result,
        Err(payload) => match exception(payload.as_ref()) {
            Some(message) => Err(libtorch_error(&message).into()),
            None => resume_unwind(payload),
        },
    }
}

/// An [`Error::Torch`] from libtorch's text: first line only (a C++ backtrace follows it), and what to
/// do where memory ran out.
pub(crate) fn libtorch_error(text: &str) -> Error {
    let line = text.lines().map(str::trim).find(|l| !l.is_empty()).unwrap_or("unknown error");
    let lower = line.to_lowercase();
    let memory = ["out of memory", "can't allocate memory", "not enough memory", "bad_alloc"];
    if memory.iter().any(|m| lower.contains(m)) {
        return Error::Torch(format!("out of memory: try a smaller batch ({line})"));
    }
    Error::Torch(line.to_owned())
}

/// The message of a panic that a failed tch call raised; `None` for any other panic.
fn exception(payload: &(dyn Any + Send)) -> Option<String> {
    let text = payload
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| payload.downcast_ref::<&str>().copied())?;
    // tch unwraps: "called `Result::unwrap()` on an `Err` value: Torch(\"first line\\n…\")".
    let debug = text.split_once("on an `Err` value: ")?.1;
    let kinds = ["Torch(\"", "Shape(\"", "Kind(\"", "Convert(\"", "FileFormat(\""];
    let message = kinds.iter().find_map(|kind| debug.strip_prefix(kind))?;
    let message = message.trim_end_matches("\")").replace("\\n", "\n").replace("\\\"", "\"");
    Some(message)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;
    use tch::{Device, Kind, Tensor};

    fn ones(shape: &[i64]) -> Tensor {
        Tensor::ones(shape, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn a_libtorch_exception_becomes_one_line() {
        let failed: Result<Tensor, Error> = guarded(|| Ok(ones(&[2, 3]).matmul(&ones(&[2, 3]))));
        let message = failed.unwrap_err().to_string();
        assert!(message.contains("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"), "{message}");
        assert!(!message.contains('\n') && !message.contains("Exception raised"), "{message}");
    }

    #[test]
    fn errors_and_values_pass_through() {
        assert_eq!(guarded(|| Ok::<_, Error>(7)).unwrap(), 7);
        let own: Result<(), Error> = guarded(|| Err(Error::Torch("own".into())));
        assert!(own.unwrap_err().to_string().contains("own"));
    }

    #[test]
    fn a_mistake_in_the_program_still_panics() {
        let panicked = catch_unwind(|| guarded(|| -> Result<(), Error> { panic!("a mistake") }));
        assert!(panicked.is_err());
    }

    #[test]
    fn running_out_of_memory_says_what_to_do() {
        let huge: Result<Tensor, Error> = guarded(|| Ok(ones(&[1 << 50])));
        let message = huge.unwrap_err().to_string();
        assert!(message.contains("smaller batch"), "{message}");
    }
}
