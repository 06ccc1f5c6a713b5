//! What is timed, and the times.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A case that both sides compute.
pub struct Case {
    /// The word for it, on the command line and to both sides.
    pub name: &'static str,
    /// What it is, for the table.
    pub what: &'static str,
    /// The bench that has it: package and target.
    pub bench: (&'static str, &'static str),
}

/// All cases, in the order of the table.
pub const CASES: [Case; 5] = [
    Case {
        name: "train",
        what: "training step, d6 (18.5M), 16 × 680 tokens, V 4096",
        bench: ("var-model", "model"),
    },
    Case { name: "sample", what: "sampling, d16, one 256-px image, cfg 1.5", bench: ("var-model", "model") },
    Case {
        name: "encode",
        what: "encoding 4 × 256 px, released shape",
        bench: ("var-tokenizer", "tokenizer"),
    },
    Case {
        name: "decode",
        what: "decoding 4 × 256 px, released shape",
        bench: ("var-tokenizer", "tokenizer"),
    },
    Case {
        name: "tokenizer",
        what: "tokenizer step, ch 32, 64 × 32 px",
        bench: ("var-tokenizer", "tokenizer"),
    },
];

/// Who computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// This workspace with its defaults.
    Ours,
    /// The published code as it is: f32.
    Defaults,
    /// The published code in our precision, with the allocator set.
    Equal,
}

/// What a side says of a case.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timing {
    /// Median of the runs, in seconds.
    pub median_s: f64,
    /// `f32` or `bf16`.
    pub precision: String,
    /// Peak memory of the process in bytes.
    pub peak_bytes: u64,
    /// Rate, as a share of the peak of a matrix product; ours only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
}

/// All timings: by case, then by side, one per round.
pub type Timings = BTreeMap<&'static str, BTreeMap<Side, Vec<Timing>>>;
