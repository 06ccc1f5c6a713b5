//! Tests of the scorer, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod blocks;
mod cli;
mod extract;
mod golden;
mod interface;
mod lpips;
mod made_up;
mod metrics;
mod neighbours;
mod networks;
mod pixels;
mod properties;
mod refusals;
mod score;
mod store;
mod torchscript;
