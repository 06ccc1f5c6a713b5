//! Parameters under the names of the released checkpoints, and the files that hold them.

pub mod parameters;
pub mod portable;
pub mod safetensors;

pub use parameters::{Builder, Init, Parameter, Parameters};
