//! Zero-shot editing: generates parts of a photo anew and keeps the codes of the rest. No training is needed.
//!
//! The tokenizer encodes the photo. At every scale, the code vectors of kept positions replace the sampled ones
//! ([`crate::sampling::Sampler::sample_around`]); [`LatentMask`] says which positions are kept. An [`EditPlan`] brings
//! a photo of any size to the model and back. [`crate::Var::edit`] is the interface for programs.
//!
//! Source: section 5.3 of the paper, `demo_zero_shot_edit.ipynb` of the published code.

pub mod blend;
mod fraction_box;
pub mod generate;
pub mod mask;
pub mod plan;
pub mod region;
pub mod window;

pub use blend::{Weights, blend};
pub use fraction_box::FractionBox;
pub use generate::{Generation, generate};
pub use mask::LatentMask;
pub use plan::{Area, EditPlan};
pub use region::{Bounds, Region};
pub use window::Window;
