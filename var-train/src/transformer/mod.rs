//! Training the transformer on token files.

pub mod progressive;
pub mod regularisation;
pub mod scores;
pub mod task;

pub use task::{ModelTask, TokenRows};
