//! Tests of the model crate, in one binary.

mod golden;
mod sampling;
mod transformer;
