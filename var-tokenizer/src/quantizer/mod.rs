//! Multi-scale residual quantization: one codebook for all scales, φ convolutions after upsampling.
//!
//! Source: section 3 of the paper (algorithms 1 and 2) and `models/quant.py` of the published code.

pub mod codebook;
pub mod dropout;
pub mod phi;
pub mod residual;
pub mod usage;

pub use codebook::Codebook;
pub use dropout::ScaleDropout;
pub use phi::Phi;
pub use residual::{Quantizer, TrainingPass};
pub use usage::Usage;
