//! Parameters under the names of the released checkpoints, and the files that hold them.

pub mod checkpoint;
mod foreign;
pub(crate) mod home;
mod names;
pub mod parameters;
pub mod pickle;
pub mod portable;
pub mod safetensors;
pub mod shards;
pub mod state_dict;

pub use checkpoint::{Checkpoint, Role};
pub use parameters::{Builder, Init, Parameter, Parameters, Storage};
pub use state_dict::{StateDict, Stored};
