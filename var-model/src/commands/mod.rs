//! The subcommands of the program, without reading flags (`cli/` does that). Only the program uses them. They are here,
//! not in `cli/`, because they use private items of the library. Their messages name flags.

pub mod check_device;
pub mod convert;
pub mod cost;
pub mod edit;
pub mod fetch;
pub mod inspect;
pub mod portable;
pub mod sample;
pub mod speed;
