//! Operations of the models that libtorch computes in several passes, each in one.
//!
//! Every function takes part in autograd and has one meaning on every device: where the fused code does
//! not apply (CUDA, other kinds), the same is composed of libtorch's own operations.

mod group_norm;

pub use group_norm::group_norm_silu;
