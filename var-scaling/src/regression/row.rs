//! One row of a table.

/// A measured loss.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    /// Its line in the file; the header is line 1.
    pub line: usize,
    /// The first variable: parameters in a joint law.
    pub x: f64,
    /// Tokens seen; 1 where the law has none.
    pub d: f64,
    /// Tokens that differ.
    pub unique: Option<f64>,
    /// The loss.
    pub loss: f64,
}
