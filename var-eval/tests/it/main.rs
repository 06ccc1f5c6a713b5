//! Tests of the scorer, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod blocks;
mod cli;
mod extract;
mod golden;
#[path = "../../../var-tokenizer/tests/it/hub_server.rs"]
mod hub_server;
mod interface;
mod lpips;
mod made_up;
mod metrics;
mod neighbours;
mod networks;
mod pixels;
mod properties;
mod published;
mod refusals;
mod score;
mod store;
mod torchscript;
