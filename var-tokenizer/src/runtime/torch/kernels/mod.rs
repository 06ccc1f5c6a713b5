//! Operations of the models that libtorch computes in several passes, each in one.
//!
//! Every function takes part in autograd (unless it says otherwise) and has one meaning on every device:
//! where the fused code does not apply (CUDA, other kinds than `f32` and `bf16`, other shapes), the same
//! is composed of libtorch's own operations. The environment variable `VAR_KERNELS` (`none`, `baseline`,
//! `avx2`, `avx512`) holds the instruction set lower, for comparison. Results are the same to the bit
//! from run to run, whatever the number of threads.

mod activation;
mod attention;
mod block_step;
mod convolution;
mod cross_entropy;
mod group_norm;
mod layer_norm;
mod linear;
mod nearest;
mod winograd;

pub use activation::gelu;
pub use attention::{AttentionCache, QueryKey, block_causal_attention, cached_attention};
pub use block_step::BlockStep;
pub use convolution::upsample_convolution;
pub use cross_entropy::{TokenLosses, cross_entropy};
pub use group_norm::{channels_last, group_norm_silu};
pub use layer_norm::{gated_add, layer_norm_modulate};
pub use linear::{linear, wide_linear};
pub use nearest::{most_similar_code, nearest_code};
pub use winograd::{WinogradFilter, winograd_applies};
