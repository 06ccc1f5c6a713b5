//! The sweep: starts the other programs one after another, keeps what is done, goes on where it stopped.
//!
//! [`launcher`] says what may start and how a sweep ends, `stages` runs it, [`check`] asks the trainer beforehand,
//! [`evidence`] shows earlier work, `missing` refuses to go on without its files, [`child`] runs one program, [`outcome`] is what comes of it, [`state`] remembers,
//! [`progress`] tells the person, [`training`] knows what the trainer is told, [`samples`] makes the pictures of the
//! report.

pub mod check;
pub mod child;
pub mod evidence;
pub mod launcher;
mod missing;
pub mod outcome;
pub mod progress;
pub mod samples;
mod stages;
pub mod state;
pub mod training;

pub use launcher::{Options, sweep};
pub use outcome::Outcome;
