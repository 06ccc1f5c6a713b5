//! Tests of the model crate, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod builtin;
mod check_device;
mod classes;
mod cli;
mod edit;
mod finite;
mod golden;
mod hub;
#[path = "../../../var-tokenizer/tests/it/hub_server.rs"]
mod hub_server;
mod memory;
mod order_cli;
mod outputs;
mod sample_cli;
mod sample_flags;
mod sampling;
mod support;
mod transformer;
mod var;
#[path = "../../../var-tokenizer/tests/it/wait.rs"]
mod wait;
mod weights_cli;
