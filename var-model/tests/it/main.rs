//! Tests of the model crate, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod browser;
mod builtin;
mod check_device;
mod chromium;
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
mod serve;
mod serve_guard;
mod studio;
mod support;
mod transformer;
mod var;
#[path = "../../../var-tokenizer/tests/it/wait.rs"]
mod wait;
mod weights_cli;
