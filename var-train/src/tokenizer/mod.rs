//! The tokenizer as a task of the training loop, and its images.

pub mod codebook;
pub mod pictures;
pub mod task;

pub use pictures::Pictures;
pub use task::TokenizerTask;
