//! The tokenizer as a task of the training loop, and its images.

pub(crate) mod adversary;
pub(crate) mod augment;
mod batch_norm;
pub(crate) mod codebook;
pub(crate) mod discriminator;
pub mod losses;
pub(crate) mod objective;
pub mod perceptual;
pub(crate) mod pictures;
pub(crate) mod task;

pub(crate) use pictures::Pictures;
pub(crate) use task::TokenizerTask;
