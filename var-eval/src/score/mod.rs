//! From two sets to scores.
//!
//! - `builder`: [`Score`], what to measure; `reference`: [`Reference`], what samples are compared with
//! - `set`: images or features, opened; `measurement`: opens both sets, runs the network, and scores
//! - `ahead`: refuses what cannot be computed before the network runs; `agreement`: refuses features that do not compare
//! - `against`: what features are compared with; `compute`: two sets of features to a report; `measures`: each metric

mod against;
mod agreement;
mod ahead;
mod builder;
mod compute;
mod measurement;
mod measures;
mod metric;
mod reference;
mod set;

#[doc(inline)]
pub use crate::inputs::set::{PictureSet, Selection};
pub use against::Against;
pub use builder::Score;
pub use compute::{Request, score};
pub use measurement::{Measurement, references_in};
pub use metric::{Metric, Quantity};
pub use reference::Reference;
pub use set::ImageSet;
