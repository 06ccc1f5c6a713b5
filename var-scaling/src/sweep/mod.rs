//! The sweep: starts the other programs, and resumes earlier work.
//!
//! `launcher` starts and ends a sweep, `stages` prepares it, `runs` trains and samples. `launch` starts programs (`call`): `child` as
//! children of this process, for which `slots` divides the machine, `slurm` as jobs. `stop` listens to signals. `state` is the record of the folder,
//! `finished` its finished stages. `evidence` finds earlier work, `missing` finds lost files. `training` and `samples` make
//! the arguments of the other programs. `progress`, `outcome` and `status` report.

mod call;
#[doc(hidden)]
pub mod child;
pub(crate) mod evidence;
pub(crate) mod finished;
mod launch;
mod launcher;
mod missing;
mod outcome;
pub(crate) mod progress;
mod runs;
pub(crate) mod samples;
mod slots;
mod slurm;
pub(crate) mod stages;
pub(crate) mod state;
mod status;
pub(crate) mod stop;
mod training;

pub use launch::LaunchOptions;
pub use launcher::{SweepOptions, render, sweep};
pub use outcome::SweepOutcome;
pub use status::{RunState, RunStatus, SweepStatus};
