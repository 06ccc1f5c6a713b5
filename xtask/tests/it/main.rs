//! xtask as a person meets it: its binary, in a made-up clone with made-up programs on the PATH.

// Helpers may fail like tests; clippy.toml exempts only the test functions themselves.
#![allow(clippy::unwrap_used)]

mod bench;
mod command_line;
mod eval_fid;
mod golden;
mod help;
mod modules;
#[path = "../../../var-tokenizer/tests/it/program.rs"]
mod program;
mod sandbox;
mod setup;
