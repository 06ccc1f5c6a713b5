//! The transformer as a task of the training loop, and its tokens.

pub mod progressive;
pub mod regularisation;
pub mod scores;
pub mod task;

pub use task::{ModelTask, TokenRows};
