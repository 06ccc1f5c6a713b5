//! The error type: the one of `var-tokenizer`. This crate adds no kind of error.

pub use var_tokenizer::{Error, Result};
