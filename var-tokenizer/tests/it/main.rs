//! Tests of the tokenizer crate, in one binary.

mod golden;
mod images;
mod quantizer;
mod resize;
mod tokens;
mod torch;
