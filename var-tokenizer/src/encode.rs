//! Pictures to token files.

/// Share of each class that is held out where a source does not say.
pub const HELD_OUT: f64 = 0.1;
/// Seed of that division: the same for every run, so that a tokenizer never trains on what is scored.
pub const SPLIT_SEED: u64 = 0;
