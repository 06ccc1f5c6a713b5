//! Laws of the rows of any table: power, joint, repetition, and what training curves show.
//!
//! A fit starts from a grid of exponents. Linear least squares give the other coefficients (variable projection), and
//! Newton's method with exact second derivatives goes to the minimum. Logarithms are centred, because otherwise factor and
//! exponent would be nearly one direction. The fits of a sweep (`fit`) have one law and their own file.

mod answer;
mod bootstrap;
mod closed;
mod curves;
mod file;
mod fitted;
mod identify;
mod interval;
mod model;
mod newton;
mod objective;
mod problem;
mod request;
mod row;
mod solve;
mod starts;
mod table;
mod whole_curves;

pub use file::fit_table;
pub(crate) use fitted::of_runs;
pub use objective::Objective;
pub use request::{DRAWS, FitRequest, GRID, Interval, Law, Role, Unit, Variable};
