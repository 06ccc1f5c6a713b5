//! What the subcommands do, apart from reading flags.

pub mod convert;
pub mod cost;
pub mod edit;
pub mod inspect;
pub mod portable;
pub mod sample;
