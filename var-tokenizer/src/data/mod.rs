//! Images, and files of token ids: what the tokenizer reads and writes. Uses [`runtime`](crate::runtime), and nothing of
//! the tokenizer itself.

pub mod h5;
pub mod images;
pub mod journal;
pub mod schedule;
pub mod tokens;
