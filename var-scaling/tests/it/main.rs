//! Tests of the program and of whole sweeps, with stand-ins for the programs that it starts.

// Helpers outside of test functions may fail a test, too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cluster;
mod compare;
mod coverage;
mod earlier_version;
mod fake;
mod faults;
mod fits;
mod held_out;
mod import;
mod input;
mod jobs;
mod lengths;
mod library;
mod lost;
#[path = "../../../var-tokenizer/tests/it/program.rs"]
mod program;
mod regression;
mod sweeps;
#[path = "../../../var-tokenizer/tests/it/wait.rs"]
mod wait;
