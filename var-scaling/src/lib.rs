//! Scaling laws of VAR models: trains models of several sizes, fits power laws to the results, plots and reports.
//!
//! Each exponent has an interval. This crate uses no tensors: it starts the other programs and reads their files.
//!
//! Fit the results of a sweep folder, or of a CSV table:
//!
//! ```no_run
//! use var_scaling::{Metric, PowerLaw, Results};
//!
//! let results = Results::open("runs/sweep-emoji-nano")?;
//! let law = PowerLaw::fit(&results.points(Metric::LossAll))?;
//! println!("{law}");
//! println!("loss at 10 billion parameters: {:.3}", law.forecast(10.0));
//! law.plot("law.svg")?;
//! # Ok::<(), var_scaling::Error>(())
//! ```
//!
//! - [`PowerLaw`]: coefficients with intervals, correlation, forecast and plot of a law, fitted to [`Point`]s
//! - [`Results`]: finished trainings, their curves and scores; [`Metric`]: the held-out scores
//! - [`fit::FitsFile`]: the eight laws of a sweep
//! - [`SweepPlan`]: the trainings of a sweep and their cost, from a [`request::SweepRequest`]; [`sweep::sweep`] runs it
//! - [`compare`]: several sweeps that differ in one thing, scored and timed together
//! - [`regression`]: laws of any table: power, joint, repetition, isoFLOP, frontier
//! - [`report`]: fits, plots and the HTML page of a sweep folder

pub mod compare;
#[doc(hidden)]
pub mod devices;
#[doc(hidden)]
pub mod error;
pub mod fit;
#[doc(hidden)]
pub mod images;
#[doc(hidden)]
pub mod import;
#[doc(hidden)]
pub mod ladder;
pub(crate) mod machine;
#[doc(hidden)]
pub mod plan;
#[doc(hidden)]
pub mod plot;
#[doc(hidden)]
pub mod preparation;
#[doc(hidden)]
pub mod preset;
pub mod regression;
pub mod report;
pub mod request;
#[doc(hidden)]
pub mod result_line;
#[doc(hidden)]
pub mod results;
#[doc(hidden)]
pub mod scores;
#[doc(hidden)]
pub mod settings;
pub mod sweep;

// For the program of this crate: not part of the interface, and may change at any time.
#[doc(hidden)]
pub mod quantity;

pub(crate) mod json_text;
pub(crate) mod plan_notes;
pub(crate) mod results_file;
pub(crate) mod run_plan;
pub(crate) mod statistics;
pub(crate) mod table;
pub(crate) mod trainer;

pub use error::{Error, Result};
pub use fit::PowerLaw;
pub use fit::point::Point;
pub use plan::SweepPlan;
pub use result_line::Metric;
pub use results::Results;
