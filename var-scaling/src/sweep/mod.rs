//! The sweep: starts the other programs one after another, and resumes earlier work.
//!
//! `launcher` starts and ends a sweep, `stages` runs it, `child` runs one program. `state` is the record of the folder,
//! `finished` its finished stages. `evidence` finds earlier work, `missing` finds lost files. `training` and `samples` make
//! the arguments of the other programs. `progress` and `outcome` report.

#[doc(hidden)]
pub mod child;
pub(crate) mod evidence;
pub(crate) mod finished;
mod launcher;
mod missing;
mod outcome;
pub(crate) mod progress;
pub(crate) mod samples;
pub(crate) mod stages;
pub(crate) mod state;
mod training;

pub use launcher::{SweepOptions, sweep};
pub use outcome::SweepOutcome;
