//! Errors and their exit status: 2 for a [`BadUse`], which other arguments avoid; 1 for the others.

use std::fmt;
use std::process::ExitCode;

/// A wrong argument, path or environment variable. The text says which one, and what to do.
#[derive(Debug)]
pub struct BadUse(pub String);

impl fmt::Display for BadUse {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for BadUse {}

/// A [`BadUse`] as an [`anyhow::Error`].
pub fn bad_use(message: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(BadUse(message.into()))
}

/// A program that xtask started failed, and printed the reason.
#[derive(Debug)]
pub struct ChildFailed(pub u8);

impl fmt::Display for ChildFailed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a program failed with exit status {}", self.0)
    }
}

impl std::error::Error for ChildFailed {}

/// The status of a [`ChildFailed`]; 2 if a [`BadUse`] is anywhere in the chain, else 1.
pub fn exit_code(error: &anyhow::Error) -> ExitCode {
    if let Some(ChildFailed(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    if error.chain().any(|cause| cause.is::<BadUse>()) { ExitCode::from(2) } else { ExitCode::from(1) }
}
