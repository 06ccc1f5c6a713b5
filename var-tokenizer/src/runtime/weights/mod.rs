//! Parameters under the names of the released checkpoints, and the files that hold them.

pub(crate) mod byte_source;
pub(crate) mod checkpoint;
mod foreign;
pub(crate) mod kinds;
mod names;
mod open;
pub(crate) mod parameters;
pub mod pickle;
pub mod portable;
pub mod safetensors;
pub mod shards;
pub mod state_dict;

pub use checkpoint::Checkpoint;
pub use kinds::Role;
pub use parameters::{Builder, Init, Parameter, Parameters, Storage};
pub use state_dict::{StateDict, Stored};
