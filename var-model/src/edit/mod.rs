//! Zero-shot editing: parts of a picture are sampled anew, the rest keeps its codes.
//!
//! Nothing is trained for it. The picture is encoded, and at every scale the code vectors of kept
//! positions take the place of the sampled ones ([`crate::sampling::Sampler::sample_around`]).
//! [`LatentMask`] says which; what stands around it brings photos of any size to the model and back.
//!
//! Source: section 5.3 of the paper, `demo_zero_shot_edit.ipynb` of the published code.

pub mod blend;
pub mod mask;
pub mod plan;
pub mod region;
pub mod window;

pub use blend::{Weights, blend};
pub use mask::{FractionBox, LatentMask};
pub use plan::{Area, Plan};
pub use region::{Bounds, Region};
pub use window::Window;
