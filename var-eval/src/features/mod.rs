//! Networks that turn pictures into features.

mod batches;
pub mod efficientnet;
pub mod inception;
mod inception_blocks;
pub(crate) mod layers;
pub mod network;
pub mod preprocess;
pub mod registry;
pub mod torchscript;
pub mod weights;
