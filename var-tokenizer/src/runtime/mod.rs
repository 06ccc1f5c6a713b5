//! What every crate of the workspace stands on: the layer over libtorch, weights by name, random numbers, files, locks,
//! progress, signals and errors. Knows nothing of images, tokens or networks.

pub mod command_line;
pub mod error;
pub mod files;
pub mod locks;
pub mod memory;
pub mod nearest;
pub(crate) mod panics;
pub mod progress;
pub mod random;
pub mod signals;
pub mod torch;
pub mod weights;
pub mod zips;
