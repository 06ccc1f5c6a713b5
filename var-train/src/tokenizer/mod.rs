//! Training the tokenizer on pictures.

pub mod codebook;
pub mod pictures;
pub mod task;

pub use pictures::Pictures;
pub use task::TokenizerTask;
