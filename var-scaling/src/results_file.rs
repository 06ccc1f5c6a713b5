//! Reads and writes the lines of `results.jsonl`.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use serde_json::Value;
use var_tokenizer::files::write_atomically;

use crate::error::{Error, Result};
use crate::json_text::{quote_non_finite, without_mark};
use crate::result_line::ResultLine;

/// The range of a number.
#[derive(Clone, Copy, PartialEq)]
enum Range {
    Positive,
    NotNegative,
}

/// The numbers that a law or a table needs.
const NUMBERS: [(&str, Range); 8] = [
    ("params", Range::Positive),
    ("tokens", Range::NotNegative),
    ("flops", Range::Positive),
    ("val_loss_all", Range::Positive),
    ("val_loss_last", Range::Positive),
    ("val_err_all", Range::NotNegative),
    ("val_err_last", Range::NotNegative),
    ("seconds", Range::NotNegative),
];

/// The lines of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ResultRows {
    /// The usable lines, in the order of the file.
    pub lines: Vec<ResultLine>,
    /// What was skipped, and why; one sentence each.
    pub skipped: Vec<String>,
    /// Number of bytes before an incomplete last line, if there is one.
    torn: Option<usize>,
}

/// Reads the lines of `results.jsonl`. A later line replaces an earlier one with the same name. Skips and
/// names an incomplete last line, and lines without usable numbers.
///
/// # Errors
/// When the file cannot be read, or a line before the last line is damaged.
pub(crate) fn read(path: &Path) -> Result<ResultRows> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    // An incomplete write can end inside a character.
    let text = String::from_utf8_lossy(&bytes);
    let mut rows = ResultRows::default();
    let count = text.lines().count();
    let unfinished = !text.is_empty() && !text.ends_with('\n');
    for (i, line) in without_mark(&text).lines().enumerate().filter(|(_, l)| !l.trim().is_empty()) {
        let number = i + 1;
        match row(line) {
            Ok(found) => {
                if rows.lines.iter().any(|l| l.name == found.name) {
                    rows.skipped.push(format!("{}: line {number} replaces an earlier line", found.name));
                    rows.lines.retain(|l| l.name != found.name);
                }
                rows.lines.push(found);
            }
            Err(Fault::Unusable(name, why)) => {
                rows.skipped.push(format!("line {number} ({name}) is skipped: {why}"));
            }
            // After a power failure, the last line can be zeros.
            Err(Fault::Damaged(_)) if number == count && (unfinished || line.contains('\0')) => {
                rows.skipped.push(format!("line {number} is skipped: it is incomplete"));
                rows.torn = Some(bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1));
                if !unfinished {
                    let before = bytes.len().saturating_sub(1);
                    let end = bytes.get(..before).and_then(|b| b.iter().rposition(|b| *b == b'\n'));
                    rows.torn = Some(end.map_or(0, |at| at + 1));
                }
            }
            Err(Fault::Damaged(why)) => {
                return Err(Error::file(
                    path,
                    format!(
                        "line {number} is damaged ({why}); remove the line, and the sweep trains its size again"
                    ),
                ));
            }
        }
    }
    Ok(rows)
}

/// Reads the lines to resume a sweep, and removes an incomplete last line. Without a file, there are no lines.
///
/// # Errors
/// When the file cannot be read or written, or a line before the last line is damaged.
pub(crate) fn open(path: &Path) -> Result<ResultRows> {
    if !path.exists() {
        return Ok(ResultRows::default());
    }
    let rows = read(path)?;
    let mut bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
    let whole = bytes.len();
    bytes.truncate(rows.torn.unwrap_or(whole));
    if bytes.last().is_some_and(|b| *b != b'\n') {
        bytes.push(b'\n');
    }
    if bytes.len() != whole {
        write_atomically(path, &bytes)?;
    }
    Ok(rows)
}

/// Appends one line, and syncs the file.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn append(path: &Path, line: &ResultLine) -> Result<()> {
    let fail = |e| Error::io(path, e);
    let text =
        serde_json::to_string(line).map_err(|e| Error::config(format!("result {}: {e}", line.name)))?;
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(fail)?;
    file.write_all(format!("{text}\n").as_bytes()).map_err(fail)?;
    file.sync_all().map_err(fail)
}

/// Why a line is not used.
pub(crate) enum Fault {
    /// Its numbers cannot be used: name and reason.
    Unusable(String, String),
    /// It is not a result: reason.
    Damaged(String),
}

/// Reads one line.
pub(crate) fn row(line: &str) -> std::result::Result<ResultLine, Fault> {
    let damaged = |e: serde_json::Error| Fault::Damaged(e.to_string());
    let value: Value = serde_json::from_str(&quote_non_finite(line)).map_err(damaged)?;
    let name = value.get("name").and_then(Value::as_str).unwrap_or("no name").to_owned();
    for (key, range) in NUMBERS {
        let why = match value.get(key) {
            Some(Value::Number(n)) => match (n.as_f64().unwrap_or(f64::NAN), range) {
                (n, _) if n.is_nan() => Some(format!("{key} is not a number")),
                (n, Range::Positive) if n <= 0.0 => Some(format!("{key} = {n}, expected a number above 0")),
                (n, _) if n < 0.0 => Some(format!("{key} = {n}, expected 0 or more")),
                _ => None,
            },
            Some(Value::Null) => Some(format!("{key} is null")),
            Some(Value::String(text)) if text.ends_with("NaN") || text.ends_with("Infinity") => {
                Some(format!("{key} is {text}"))
            }
            _ => None,
        };
        if let Some(why) = why {
            return Err(Fault::Unusable(name, why));
        }
    }
    serde_json::from_value(value).map_err(damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_last_line_is_skipped_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        append(&path, &ResultLine::example("a", 1)).unwrap();
        append(&path, &ResultLine::example("b", 2)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for cut in [whole.len() - 1, whole.len() - 20, whole.len() / 2 + 3] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let names: Vec<String> = open(&path).unwrap().lines.into_iter().map(|l| l.name).collect();
            assert!(names == ["a"] || (names == ["a", "b"] && cut == whole.len() - 1), "{cut}: {names:?}");
            append(&path, &ResultLine::example("c", 3)).unwrap();
            assert_eq!(read(&path).unwrap().lines.last().unwrap().name, "c");
        }
        let mut zeros = whole.clone();
        zeros.extend([0; 9]);
        zeros.push(b'\n');
        std::fs::write(&path, zeros).unwrap();
        assert_eq!(open(&path).unwrap().lines.len(), 2);
        assert_eq!(std::fs::read(&path).unwrap(), whole);
    }

    #[test]
    fn damage_before_the_last_line_is_an_error_that_names_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        append(&path, &ResultLine::example("a", 1)).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{{broken\n{text}")).unwrap();
        assert!(open(&path).unwrap_err().to_string().contains("line 1 is damaged"));
    }

    #[test]
    fn lines_without_usable_numbers_are_skipped_with_line_name_and_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let good = serde_json::to_string(&ResultLine::example("good", 1)).unwrap();
        for (from, to, why) in [
            ("\"val_loss_all\":5.0", "\"val_loss_all\":NaN", "val_loss_all is NaN"),
            ("\"val_loss_all\":5.0", "\"val_loss_all\":null", "val_loss_all is null"),
            ("\"val_loss_last\":5.1", "\"val_loss_last\":-Infinity", "val_loss_last is -Infinity"),
            ("\"val_loss_all\":5.0", "\"val_loss_all\":-1.0", "val_loss_all = -1, expected a number above 0"),
            ("\"params\":1", "\"params\":0", "params = 0, expected a number above 0"),
            ("\"val_err_all\":0.9", "\"val_err_all\":-0.9", "val_err_all = -0.9, expected 0 or more"),
            ("\"seconds\":1.5", "\"seconds\":-1", "seconds = -1, expected 0 or more"),
        ] {
            let bad = good.replace(from, to).replace("good", "bad");
            assert_ne!(bad, good.replace("good", "bad"), "{from}");
            let text = format!("{good}\n{bad}\n");
            std::fs::write(&path, &text).unwrap();
            let rows = open(&path).unwrap();
            assert_eq!(rows.lines.len(), 1, "{why}");
            assert_eq!(rows.skipped, [format!("line 2 (bad) is skipped: {why}")]);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "the file does not change");
        }
    }

    #[test]
    fn a_byte_order_mark_is_ignored_and_a_replaced_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.jsonl");
        let text = |params| serde_json::to_string(&ResultLine::example("a", params)).unwrap();
        std::fs::write(&path, format!("\u{feff}{}\n{}\n", text(1), text(2))).unwrap();
        let rows = open(&path).unwrap();
        assert_eq!(rows.lines.iter().map(|l| l.params).collect::<Vec<_>>(), [2]);
        assert_eq!(rows.skipped, ["a: line 2 replaces an earlier line"]);
    }
}
