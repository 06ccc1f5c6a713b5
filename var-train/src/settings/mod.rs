//! The settings of a run: defaults ← preset ← TOML file ← single assignments. Every key is known.
//!
//! [`ModelRun`] and [`TokenizerRun`] are the settings; [`Layers`] says where they come from.

pub mod adversary;
pub mod effects;
pub mod layers;
pub mod model;
pub mod presets;
pub mod resolve;
pub mod scale_weights;
pub mod tokenizer;
pub mod training;

pub use adversary::{AdversaryTraining, PerceptualTraining};
pub use layers::Given;
pub use model::{Model, ModelRun};
pub use resolve::{Layers, Resolved};
pub use scale_weights::ScaleWeights;
pub use tokenizer::{TokenizerRun, TokenizerTraining};
pub use training::Training;
