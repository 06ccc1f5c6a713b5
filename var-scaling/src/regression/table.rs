//! Tables of runs: a CSV file, and which column has which role.

use std::collections::BTreeMap;
use std::path::Path;

use super::request::{Role, word};
use crate::error::{Error, Result};

/// A line of a table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    /// Its line in the file; the header is line 1.
    pub line: usize,
    /// Numbers by role.
    pub numbers: BTreeMap<Role, f64>,
    /// Texts by role: run, size, seed, step.
    pub texts: BTreeMap<Role, String>,
}

/// The lines of a table, and those that were left out, with the reason.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Table {
    /// Lines with a positive finite number in every column that needs one.
    pub entries: Vec<Entry>,
    /// Number of the line, and the reason.
    pub dropped: Vec<(usize, String)>,
}

impl Entry {
    /// The number of a role, if the table has its column.
    pub(super) fn number(&self, role: Role) -> Option<f64> {
        self.numbers.get(&role).copied()
    }
}

/// Reads the columns of `roles` (role and column name) from a CSV file.
///
/// # Errors
/// When the file cannot be read, is not CSV, or has no such column.
pub(super) fn read(path: &Path, roles: &[(Role, String)]) -> Result<Table> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let fail = |e: csv::Error| Error::file(path, format!("is not a CSV table: {e}"));
    // The reader counts lines by their line feeds.
    let text = String::from_utf8_lossy(&bytes).replace("\r\n", "\n");
    let text = text.trim_start_matches('\u{feff}');
    let first = text.lines().next().unwrap_or_default();
    // A spreadsheet of a country with decimal commas writes semicolons.
    let delimiter = [b',', b';', b'\t']
        .into_iter()
        .max_by_key(|d| (first.bytes().filter(|b| b == d).count(), *d == b','))
        .unwrap_or(b',');
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .delimiter(delimiter)
        .flexible(true)
        .has_headers(false)
        .from_reader(text.as_bytes());
    let mut records = reader.records();
    let header = match records.next() {
        Some(header) => header.map_err(fail)?,
        None => return Err(Error::file(path, "is empty")),
    };
    let mut places = Vec::new();
    for (role, column) in roles {
        let place = header.iter().position(|name| name == column).ok_or_else(|| {
            let columns = header.iter().collect::<Vec<_>>().join(", ");
            Error::file(
                path,
                format!("has no column {column} (for {}); its columns are {columns}", word(role)),
            )
        })?;
        places.push((*role, column.as_str(), place));
    }
    let records: Vec<csv::StringRecord> = records.collect::<std::result::Result<_, _>>().map_err(fail)?;
    // With semicolons between columns, a comma is a decimal point, if the numbers have any.
    let numbers = |record: &csv::StringRecord| {
        let cells = places.iter().filter(|(role, ..)| role.is_number());
        cells.filter_map(|&(.., place)| record.get(place)).any(|text| text.contains(','))
    };
    let comma = delimiter == b';' && records.iter().any(numbers);
    let mut table = Table { entries: Vec::new(), dropped: Vec::new() };
    for record in records {
        let line = record.position().map_or(0, |p| p.line()) as usize;
        let mut entry = Entry { line, numbers: BTreeMap::new(), texts: BTreeMap::new() };
        let mut fault = None;
        for &(role, column, place) in &places {
            let text = record.get(place).unwrap_or_default();
            if role.is_number() {
                match number(text, comma) {
                    Some(value) if value.is_finite() && value > 0.0 => {
                        entry.numbers.insert(role, value);
                    }
                    _ if text.is_empty() => fault = Some(format!("no value in {column}")),
                    _ => fault = Some(format!("{column} is {text}, not a number above 0")),
                }
            } else {
                entry.texts.insert(role, text.to_owned());
            }
        }
        match fault {
            Some(reason) => table.dropped.push((line, reason)),
            None => table.entries.push(entry),
        }
    }
    Ok(table)
}

/// A number, also with separators of thousands. `comma`: a comma is the decimal point of the table, and a point separates
/// thousands; else the other way round.
fn number(text: &str, comma: bool) -> Option<f64> {
    let text = text.replace(['_', '\u{a0}', '\u{202f}', ' ', '\'', '\u{2019}'], "");
    let (point, mut group) = if comma { (',', '.') } else { ('.', ',') };
    let (mut whole, mut rest) = text.split_once(point).unwrap_or((&text, "0"));
    if rest.contains(point) {
        // Several of them can only separate thousands.
        (whole, rest, group) = (&text, "0", point);
    }
    let mut groups = whole.split(group);
    let first = groups.next()?.trim_start_matches(['-', '+']);
    let others: Vec<&str> = groups.collect();
    let three = |digits: &&str| digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
    let grouped = others.iter().all(three) && (1..=3).contains(&first.len());
    if !(others.is_empty() || grouped) {
        return None;
    }
    if !text.contains([',', '.']) {
        return text.parse().ok();
    }
    format!("{}.{rest}", whole.replace(group, "")).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_spreadsheets_are_read_and_what_is_none_is_not() {
        for (text, comma, value) in [
            ("1234.5", false, 1234.5),
            ("1e9", false, 1e9),
            ("2.5e-3", false, 2.5e-3),
            ("1,234,567", false, 1_234_567.0),
            ("1,234.5", false, 1234.5),
            ("1.234.567", false, 1_234_567.0),
            ("1 234 567", false, 1_234_567.0),
            ("1'234'567.5", false, 1_234_567.5),
            ("-1,234", false, -1234.0),
            ("1.234.567,5", true, 1_234_567.5),
            ("40.000", true, 40_000.0),
            ("4,25", true, 4.25),
            ("3,5e2", true, 350.0),
            ("250", true, 250.0),
        ] {
            assert_eq!(number(text, comma), Some(value), "{text}");
        }
        for text in ["", "4,25", "1,23,456", "1.2.3", "12,34.5", "n/a", "1,234,56", "1234,567"] {
            assert_eq!(number(text, false), None, "{text}");
        }
        for text in ["4.25", "1,2,3", "1234.567"] {
            assert_eq!(number(text, true), None, "{text}");
        }
    }

    #[test]
    fn a_table_with_decimal_commas_separates_thousands_by_points() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("runs.csv");
        let roles = [(Role::N, "n".to_owned()), (Role::Loss, "loss".to_owned())];
        let numbers = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let entries = read(&path, &roles).unwrap().entries;
            entries.iter().map(|e| (e.numbers[&Role::N], e.numbers[&Role::Loss])).collect::<Vec<_>>()
        };
        assert_eq!(numbers("n;loss\n40.000;4,5\n1.000.000;3\n"), [(40_000.0, 4.5), (1e6, 3.0)]);
        assert_eq!(numbers("n;loss\n40.000;4.5\n"), [(40.0, 4.5)]);
        assert_eq!(numbers("n,loss\n\"40,000\",4.5\n"), [(40_000.0, 4.5)]);
    }
}
