//! Data-parallel training over several processes, on libtorch's own c10d.
//!
//! Ranks meet at a key-value store ([`store`]), connect (`group`) and average their gradients during the backward pass
//! (`reducer`). The training loop uses [`Ranks`]; for a single process ([`Ranks::ALONE`]) it does nothing. The
//! `environment` says which rank a process is; [`launch`] starts several on one machine.
//!
//! Rust calls the C++ half (`cpp/`) through C functions. Exceptions become messages, and no C++ type is in the interface.
//! Only this folder of the crate has `unsafe` code.

pub mod check;
mod device;
mod ending;
pub(crate) mod environment;
mod failure;
mod ffi;
pub(crate) mod group;
mod guard;
pub(crate) mod heartbeat;
mod join;
pub mod launch;
mod nccl;
pub(crate) mod place;
mod ranks;
pub(crate) mod reducer;
pub(crate) mod slurm;
pub mod store;

pub use device::device_of;
pub use ending::{end, is_rank, speaks};
pub(crate) use join::refuse;
pub use place::Place;
pub(crate) use ranks::nothing;
pub use ranks::{Ranks, require_divisible};
