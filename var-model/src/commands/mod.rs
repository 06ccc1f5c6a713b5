//! What the subcommands do, apart from reading flags.

pub mod cost;
pub mod edit;
pub mod sample;
