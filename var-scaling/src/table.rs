//! Results in a CSV table: one row per finished training, with the columns of `results.jsonl`.

use std::path::Path;

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::result_line::ResultLine;
use crate::results_file::{Fault, row};

/// Optional columns and their defaults.
const OPTIONAL: [(&str, &str); 3] = [("seconds", "0"), ("tokens", "0"), ("run", "\"\"")];

/// Reads the rows of a table, and a sentence for each row that is skipped.
///
/// # Errors
/// When the file cannot be read, is not CSV, or a row lacks a column or holds text instead of a number.
pub(crate) fn read(path: &Path) -> Result<(Vec<ResultLine>, Vec<String>)> {
    let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(file);
    let fail = |e: csv::Error| Error::file(path, format!("is not a CSV table: {e}"));
    let columns = reader.headers().map_err(fail)?.clone();
    let (mut lines, mut skipped): (Vec<ResultLine>, Vec<String>) = (Vec::new(), Vec::new());
    for (i, record) in reader.records().enumerate() {
        let (record, number) = (record.map_err(fail)?, i + 2);
        match row(&object(&columns, &record)) {
            Ok(line) if lines.iter().any(|l| l.name == line.name) => {
                return Err(Error::file(
                    path,
                    format!(
                        "line {number}: the name {} is used twice; give each row its own name",
                        line.name
                    ),
                ));
            }
            Ok(line) => lines.push(line),
            Err(Fault::Unusable(name, why)) => {
                skipped.push(format!("line {number} ({name}): skipped, {why}"))
            }
            Err(Fault::Damaged(why)) => {
                return Err(Error::file(
                    path,
                    format!(
                        "line {number}: {why}; give the columns name, depth, width, params, flops, val_loss_all, \
                             val_loss_last, val_err_all and val_err_last"
                    ),
                ));
            }
        }
    }
    Ok((lines, skipped))
}

/// A row as a line of `results.jsonl`. Names stay texts.
fn object(columns: &csv::StringRecord, record: &csv::StringRecord) -> String {
    let parse = |text: &str| serde_json::from_str::<Value>(text).ok();
    let mut object: Map<String, Value> =
        OPTIONAL.iter().filter_map(|(key, text)| Some(((*key).to_owned(), parse(text)?))).collect();
    for (column, text) in columns.iter().map(|c| c.trim_start_matches('\u{feff}')).zip(record) {
        let number = if matches!(column, "name" | "run" | "precision" | "plan") { None } else { parse(text) };
        if !text.is_empty() {
            object.insert(column.to_owned(), number.unwrap_or_else(|| text.into()));
        }
    }
    Value::Object(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name,depth,width,params,flops,val_loss_all,val_loss_last,val_err_all,val_err_last";

    fn table(text: &str) -> Result<(Vec<ResultLine>, Vec<String>)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn rows_become_results_and_other_columns_are_ignored() {
        let text = format!("\u{feff}{HEAD},remark\n7, 1,32, 1000,1e12,5.0,5.1,0.9,0.95,\"a, b\"\n");
        let (lines, skipped) = table(&text).unwrap();
        assert_eq!((lines[0].name.as_str(), lines[0].params, lines[0].flops), ("7", 1000, 1e12));
        assert_eq!((lines[0].size().as_str(), lines[0].val_err_last), ("1x32", 0.95));
        assert!(skipped.is_empty());
    }

    #[test]
    fn faults_name_the_line() {
        let good = "a,1,32,1000,1e12,5.0,5.1,0.9,0.95";
        for (text, fault) in [
            (format!("{HEAD}\n{good}\n{good}\n"), "line 3: the name a is used twice"),
            (format!("{HEAD}\n{good}\nb,1,32\n"), "is not a CSV table"),
            ("name,params\na,3\n".to_owned(), "line 2: missing field"),
            (format!("{HEAD}\nb,one,32,1000,1e12,5.0,5.1,0.9,0.95\n"), "line 2: invalid type"),
        ] {
            let message = table(&text).unwrap_err().to_string();
            assert!(message.contains("table.csv") && message.contains(fault), "{message}");
        }
        let (lines, skipped) =
            table(&format!("{HEAD}\n{good}\nb,1,32,1000,1e12,NaN,5.1,0.9,0.95\n")).unwrap();
        assert_eq!((lines.len(), skipped), (1, vec!["line 3 (b): skipped, val_loss_all is NaN".to_owned()]));
    }
}
