//! The tokenizer as a task of the training loop, and its images.

pub(crate) mod codebook;
pub(crate) mod pictures;
pub(crate) mod task;

pub(crate) use pictures::Pictures;
pub(crate) use task::TokenizerTask;
