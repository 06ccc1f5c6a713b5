//! Sampling: token maps coarse to fine, with guidance, filtering and counter-based draws.
//!
//! Source: section 3 of the paper, `autoregressive_infer_cfg` of the published code.

mod canvas;
mod choice;
pub(crate) mod draws;
pub(crate) mod filter;
pub(crate) mod options;
mod pass;
pub(crate) mod sampler;
mod watch;

pub use draws::Draws;
pub use options::{Guidance, SamplingOptions, ScaleRange, Temperature};
pub use sampler::{Kept, Sample, Sampler, at_once, check_pair};
pub(crate) use sampler::{check_edits, check_small};
pub(crate) use watch::unwatched;
pub use watch::{Step, Watch};
