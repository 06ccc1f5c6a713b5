//! Networks that turn pictures into features.

pub mod network;
