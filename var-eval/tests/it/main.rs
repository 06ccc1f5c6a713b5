//! Tests of the scorer, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cli;
mod extract;
mod golden;
mod lpips;
mod metrics;
mod neighbours;
mod networks;
mod properties;
mod score;
mod store;
