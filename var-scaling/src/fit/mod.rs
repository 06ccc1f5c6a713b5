//! Fits: one power law, its interval, the frontier, the eight laws of a sweep, and its joint laws of parameters and tokens.
//!
//! A law is `L(X) = L∞ + (β·X)^α` with `α < 0`. The irreducible part `L∞` is given or fitted, and each fit says which. If the
//! points do not support an exponent, the law has none.

mod fitting;
pub mod forecast;
pub mod frontier;
pub mod held_out;
pub mod joint;
pub mod law;
pub mod laws;
pub mod means;
mod options;
pub mod point;
pub mod power;
pub mod power_law;
pub mod profile;
pub(crate) mod verdict;

pub use forecast::{Forecast, ForecastRequest, forecast};
pub use held_out::{ForecastsFile, HeldOut};
pub use joint::JointLaw;
pub use law::{FittedLaw, Irreducible, Status};
pub use laws::FitsFile;
pub use options::FitOptions;
pub use power::{Bound, Curve, Power};
pub use power_law::PowerLaw;
