//! Tests of the tokenizer crate, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod cli;
mod encode;
mod files;
mod golden;
mod hostile;
mod images;
mod locks;
mod program;
mod quantizer;
mod reconstruct;
mod resize;
mod shards;
mod signals;
mod tokenizer;
mod tokens;
mod torch;
mod wait;
mod weights;
