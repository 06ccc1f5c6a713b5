//! Data-parallel training over several processes, on libtorch's own c10d.
//!
//! Ranks meet at a key-value store ([`store`]), connect ([`group`]) and average their gradients during the
//! backward pass ([`reducer`]). [`Ranks`] is what training sees of it; a process on its own ([`Ranks::ALONE`])
//! touches none of it. Where a process stands comes from its [`environment`]; [`launch`] starts several on
//! one machine.
//!
//! The C++ half (`cpp/`) is called through C functions; exceptions cross as messages, no C++ type shows in
//! the interface. This is the only folder of the crate with `unsafe` code.

pub mod check;
mod ending;
pub mod environment;
mod failure;
mod ffi;
pub mod group;
pub mod heartbeat;
mod join;
pub mod launch;
mod nccl;
pub mod place;
mod ranks;
pub mod reducer;
pub mod slurm;
pub mod store;

pub use ending::{end, is_rank, speaks};
pub use join::refuse;
pub use place::Place;
pub use ranks::{Ranks, require_divisible};
