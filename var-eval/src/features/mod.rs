//! Networks that turn images into features.

mod batches;
pub mod colour;
pub mod earlier;
pub mod efficientnet;
pub mod extract;
pub mod inception;
mod inception_blocks;
pub(crate) mod layers;
pub mod network;
pub mod preprocess;
pub mod registry;
pub mod store;
pub mod torchscript;
pub mod weights;
