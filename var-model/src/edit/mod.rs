//! Zero-shot editing: parts of a picture are sampled anew, the rest keeps its codes.
//!
//! Nothing is trained for it. The picture is encoded, and at every scale the code vectors of kept
//! positions take the place of the sampled ones ([`crate::sampling::Sampler::sample_around`]).
//! [`LatentMask`] says which. A [`Plan`] brings photos of any size to the model and back.
//!
//! Source: section 5.3 of the paper, `demo_zero_shot_edit.ipynb` of the published code.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use tch::Device;
//! use var_model::Transformer;
//! use var_model::edit::{Area, Generation, Plan, generate};
//! use var_model::sampling::{Sampler, SamplingOptions};
//! use var_tokenizer::images::read_picture;
//! use var_tokenizer::{builtin, torch};
//!
//! torch::start();
//! let model = Transformer::load(Path::new("runs/small/model.safetensors"), Device::Cpu)?;
//! let tokenizer = builtin::open("runs/small/tokenizer.safetensors", None, Device::Cpu)?.tokenizer;
//! let sampler = Sampler::new(&model, &tokenizer)?;
//! let (config, side) = (model.config(), tokenizer.config().image_side() as u32);
//!
//! let area = Area::Box("0.25,0.25,0.75,0.75".parse()?);
//! let photo = read_picture(Path::new("photo.jpg"))?;
//! let plan = Plan::new(photo, &area, side, config.schedule.last_side())?;
//! let weights = plan.weights(None);
//! let options = SamplingOptions { cfg: 3.0, top_p: 0.95, more_smooth: true, ..Default::default() };
//! let generation = Generation { label: config.classes as i64, options, seed: 0, variants: 4 };
//! let mut edited = Vec::new();
//! generate(&sampler, &tokenizer, &plan.square()?, plan.mask(), &generation, |_, picture| {
//!     edited.push(plan.blended(&picture, &weights)?);
//!     Ok(())
//! })?;
//! # Ok::<(), var_model::Error>(())
//! ```

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
pub use plan::{Area, Plan};
pub use region::{Bounds, Region};
pub use window::Window;
