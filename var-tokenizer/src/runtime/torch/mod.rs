//! What tch lacks: a prepared libtorch, devices and precisions by name, errors instead of panics, a fused
//! optimizer, and kernels that make a step quick on a processor.
//!
//! The C++ half (`*.cpp` beside the Rust files) is called through C functions; exceptions cross as
//! messages, no C++ type shows in the interface. This is the only place with `unsafe` code.

mod allocation;
mod cuda;
mod device;
mod device_memory;
mod ffi;
mod finite;
mod guard;
pub mod kernels;
pub mod memory;
pub mod module;
pub mod optimizer;
mod peak;
mod precision;
mod recompute;
mod start;

pub use allocation::Allocations;
pub use device::DeviceChoice;
pub use device_memory::peak_bytes;
pub use finite::check_finite;
pub use guard::guarded;
pub use peak::{peak_flops, product_peak, read_peak};
pub use precision::Precision;
pub use recompute::recomputed;
pub use start::start;
