//! Tests of the scorer, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cli;
mod golden;
mod metrics;
mod neighbours;
mod properties;
