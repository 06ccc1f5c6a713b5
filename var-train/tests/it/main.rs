//! Tests of the training crate, in one binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod adversary;
mod average;
mod bad_input;
mod checkpoint;
mod earlier_version;
mod early;
mod fixture;
mod fp16;
mod golden;
mod library;
#[path = "../../../var-eval/tests/it/made_up.rs"]
mod made_up;
mod memory;
mod missing;
mod not_finite;
mod order;
mod progressive;
mod ranks;
mod ranks_lost;
mod ranks_together;
mod ranks_tokenizer;
mod reference;
mod resume;
mod settings_page;
mod tokenizer;
#[path = "../../../var-tokenizer/tests/it/wait.rs"]
mod wait;
