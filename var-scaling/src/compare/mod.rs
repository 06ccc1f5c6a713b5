//! Comparisons: several sweeps that differ in one thing (the arms), scored and timed together.
//!
//! `settings` reads the file of a comparison, `plan` makes a plan of a sweep for each arm, `run` runs them in turn, `score`
//! starts the programs that score and time, `places` names the folders, `outcome` collects the numbers, `figures` and
//! `report` show them.

mod figures;
mod outcome;
mod places;
mod plan;
mod report;
mod run;
mod score;
mod settings;

pub use outcome::{ComparisonOutcome, ComparisonRow, Distance, Tokenizer};
pub use plan::{ComparisonPlan, PlannedArm};
pub use run::compare;
pub use settings::list;
