//! Zero-shot editing: generates parts of a photo anew and keeps the codes of the rest. No training is needed.
//!
//! The tokenizer encodes the photo. At every scale, the code vectors of kept positions replace the sampled ones
//! ([`crate::sampling::Sampler::sample_around`]); `LatentMask` says which positions are kept. An `EditPlan` brings
//! a photo of any size to the model and back. [`crate::Var::edit`] is the interface for programs.
//!
//! Source: section 5.3 of the paper, `demo_zero_shot_edit.ipynb` of the published code.

pub(crate) mod blend;
mod fraction_box;
pub(crate) mod generate;
pub(crate) mod mask;
pub(crate) mod plan;
pub(crate) mod region;
pub(crate) mod window;

pub use fraction_box::FractionBox;
pub(crate) use generate::{Generation, generate};
pub(crate) use mask::LatentMask;
pub(crate) use plan::{Area, EditPlan};
pub(crate) use region::Region;
pub(crate) use window::Window;
