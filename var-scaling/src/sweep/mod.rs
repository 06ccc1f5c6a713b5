//! The sweep: starts the other programs one after another, keeps what is done, goes on where it stopped.
//!
//! [`launcher`] decides what to run, [`child`] runs one program, [`state`] remembers, [`progress`] tells the
//! person, [`samples`] makes the pictures of the report.

pub mod child;
pub mod launcher;
pub mod progress;
pub mod samples;
pub mod state;

pub use launcher::{Options, Outcome, sweep};
