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
    let mut table = Table { entries: Vec::new(), dropped: Vec::new() };
    for record in records {
        let record = record.map_err(fail)?;
        let line = record.position().map_or(0, |p| p.line()) as usize;
        let mut entry = Entry { line, numbers: BTreeMap::new(), texts: BTreeMap::new() };
        let mut fault = None;
        for &(role, column, place) in &places {
            let text = record.get(place).unwrap_or_default();
            if role.is_number() {
                match number(text, delimiter) {
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

/// A number, also with separators of thousands. With semicolons between columns, one comma is a decimal point.
fn number(text: &str, delimiter: u8) -> Option<f64> {
    let text = text.replace(['_', '\u{a0}', '\u{202f}', ' ', '\'', '\u{2019}'], "");
    let count = |mark: char| text.matches(mark).count();
    let (decimal, group) = match (count(','), count('.')) {
        (0, 0 | 1) => return text.parse().ok(),
        // The last of two marks is the decimal point.
        (1.., 1..) if text.rfind(',') > text.rfind('.') => (Some(','), '.'),
        (1.., 1..) => (Some('.'), ','),
        (1, 0) if delimiter == b';' => (Some(','), '.'),
        (1.., 0) => (None, ','),
        (0, _) => (None, '.'),
    };
    let (whole, rest) = match decimal {
        Some(mark) => text.split_once(mark)?,
        None => (text.as_str(), ""),
    };
    let mut groups = whole.split(group);
    let first = groups.next()?.trim_start_matches('-');
    let mut several = false;
    let three = groups.all(|digits| {
        several = true;
        digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit())
    });
    if !three || (several && !(1..=3).contains(&first.len())) {
        return None;
    }
    format!("{}.{}", whole.replace(group, ""), if rest.is_empty() { "0" } else { rest }).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_spreadsheets_are_read_and_what_is_none_is_not() {
        for (text, delimiter, value) in [
            ("1234.5", b',', 1234.5),
            ("1e9", b',', 1e9),
            ("1,234,567", b',', 1_234_567.0),
            ("1,234.5", b',', 1234.5),
            ("1.234.567,5", b';', 1_234_567.5),
            ("4,25", b';', 4.25),
            ("4.25", b';', 4.25),
            ("1.234.567", b';', 1_234_567.0),
            ("1 234 567", b',', 1_234_567.0),
            ("1'234'567.5", b',', 1_234_567.5),
            ("-1,234", b',', -1234.0),
            ("3,5e2", b';', 350.0),
        ] {
            assert_eq!(number(text, delimiter), Some(value), "{text}");
        }
        for text in ["", "4,25", "1,23,456", "1.2.3", "12,34.5", "n/a", "1,234,56", "1234,567"] {
            assert_eq!(number(text, b','), None, "{text}");
        }
    }
}
