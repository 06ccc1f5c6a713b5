//! Comparisons: several sweeps that differ in one thing (the arms), scored and timed together.
//!
//! `settings` reads the file of a comparison, `plan` makes a plan of a sweep for each arm, `run` runs them and scores their
//! samples, `outcome` collects the numbers, `figures` and `report` show them.

mod figures;
mod outcome;
mod plan;
mod report;
mod run;
mod settings;

pub use outcome::{ComparisonOutcome, ComparisonRow, Distance, Tokenizer};
pub use plan::{ComparisonPlan, PlannedArm};
pub use run::{CompareOptions, compare};
pub use settings::list;
