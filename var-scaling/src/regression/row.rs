//! The rows of a law.

use std::collections::BTreeMap;

use super::objective::Objective;

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
    /// Logarithms of `x` and `d`.
    pub logs: (f64, f64),
}

impl Row {
    /// A loss with its variables.
    pub(super) fn new(line: usize, (x, d): (f64, f64), unique: Option<f64>, loss: f64) -> Self {
        Self { line, x, d, unique, loss, logs: (x.ln(), d.ln()) }
    }
}

/// Groups of rows with equal variables, in the order of their first rows.
pub(super) fn cells(rows: &[Row]) -> Vec<Vec<&Row>> {
    let mut places = BTreeMap::new();
    let mut cells: Vec<Vec<&Row>> = Vec::new();
    for row in rows {
        let key = (row.x.to_bits(), row.d.to_bits(), row.unique.map(f64::to_bits));
        let place = *places.entry(key).or_insert(cells.len());
        match cells.get_mut(place) {
            Some(cell) => cell.push(row),
            None => cells.push(vec![row]),
        }
    }
    cells
}

/// One mean per cell: of the losses, or of their logarithms, as the objective compares them.
pub(super) fn means(rows: &[Row], objective: Objective) -> Vec<Row> {
    let mean = |cell: &[&Row], value: &dyn Fn(f64) -> f64| {
        cell.iter().map(|row| value(row.loss)).sum::<f64>() / cell.len() as f64
    };
    let one = |cell: Vec<&Row>| {
        let loss = match objective {
            Objective::Squares => mean(&cell, &|loss| loss),
            _ => mean(&cell, &f64::ln).exp(),
        };
        cell.first().map(|first| Row { loss, ..(*first).clone() })
    };
    cells(rows).into_iter().filter_map(one).collect()
}
