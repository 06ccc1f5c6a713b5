//! Tests of the training crate, in one binary.

mod bad_input;
mod fixture;
mod golden;
mod reference;
mod resume;
