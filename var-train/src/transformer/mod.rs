//! The transformer as a task of the training loop, and its tokens.

pub(crate) mod progressive;
pub(crate) mod regularisation;
pub(crate) mod scores;
pub(crate) mod task;

pub use task::{ModelTask, TokenRows};
