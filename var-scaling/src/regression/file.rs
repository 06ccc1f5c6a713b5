//! From a table to its fits.json.

use std::path::Path;

use serde_json::{Value, json};
use var_tokenizer::files::{make_folder, sha256_of, write_atomically};

use super::law::law;
use super::request::FitRequest;
use super::table::read;
use crate::error::Result;

/// Version of fits.json.
const VERSION: u32 = 2;

/// Fits a law to a table and writes `fits.json` into `out`; gives its content.
///
/// # Errors
/// When the request or the table is bad, or the file cannot be written. A law that the rows do not carry is no error: its
/// status says so.
pub fn fit_table(request: &FitRequest, out: &Path) -> Result<Value> {
    request.check()?;
    let table = read(&request.table, &request.columns)?;
    let law = law(&table, request)?;
    let dropped: Vec<Value> =
        table.dropped.iter().map(|(line, reason)| json!({"line": line, "reason": reason})).collect();
    let file = json!({
        "version": VERSION,
        "table": {
            "file": request.table.display().to_string(), "sha256": sha256_of(&request.table)?,
            "used": table.entries.len(), "dropped": dropped,
        },
        "laws": [law],
    });
    make_folder(out)?;
    write_atomically(&out.join("fits.json"), format!("{file:#}\n").as_bytes())?;
    Ok(file)
}
