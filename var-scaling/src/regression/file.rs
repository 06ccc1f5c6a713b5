//! From a request to its fits.json.

use std::path::Path;

use serde_json::{Map, Value, json};
use var_tokenizer::files::{make_folder, sha256_of, write_atomically};

use super::answer::{begin, coefficient, split};
use super::closed::Joint;
use super::fitted::{fitted, rows};
use super::model::Form;
use super::request::{FitRequest, Law};
use super::table::{Table, read};
use super::whole_curves::{frontier, isoflop};
use crate::error::{Error, Result};

/// Version of fits.json.
const VERSION: u32 = 2;

/// Fits a law to a table and writes `fits.json` into `out`; gives its content.
///
/// # Errors
/// When the request or the table is bad, or the file cannot be written. Rows that do not give a
/// law are not an error: the status says why.
pub fn fit_table(request: &FitRequest, out: &Path) -> Result<Value> {
    request.check()?;
    let table = match &request.table {
        Some(path) => Some(read(path, &request.columns)?),
        None => None,
    };
    let law = law(table.as_ref(), request)?;
    let about = match (&table, &request.table) {
        (Some(table), Some(path)) => {
            let dropped = table.dropped.iter().map(|(line, reason)| json!({"line": line, "reason": reason}));
            json!({
                "file": path.display().to_string(), "sha256": sha256_of(path)?, "used": table.entries.len(),
                "dropped": dropped.collect::<Vec<_>>(),
            })
        }
        _ => Value::Null,
    };
    let file = json!({"version": VERSION, "table": about, "laws": [law]});
    make_folder(out)?;
    write_atomically(&out.join("fits.json"), format!("{file:#}\n").as_bytes())?;
    Ok(file)
}

/// The law, as in fits.json.
fn law(table: Option<&Table>, request: &FitRequest) -> Result<Map<String, Value>> {
    let form = match request.law {
        Law::Optimal => return optimal(table, request),
        Law::Power | Law::Error => Form::Power,
        Law::Joint => Form::Joint,
        Law::Repetition => Form::Repetition,
        Law::Frontier | Law::Isoflop => Form::Power,
    };
    let table = table.ok_or_else(|| Error::config("this law needs a table; name it with --csv FILE"))?;
    match request.law {
        Law::Frontier => frontier(table, request),
        Law::Isoflop => isoflop(table, request),
        _ => Ok(fitted(&rows(table, request, form)?, request, form)),
    }
}

/// The best split of the budgets, from given coefficients.
fn optimal(table: Option<&Table>, request: &FitRequest) -> Result<Map<String, Value>> {
    let get = |name: &str| {
        request.coefficients.iter().find(|(k, _)| k == name).map(|(_, v)| *v).ok_or_else(|| {
            Error::config(format!(
                "the law optimal needs the coefficient {name}; give --coefficients E=…,A=…,alpha=…,B=…,beta=…"
            ))
        })
    };
    let joint = Joint { e: get("E")?, a: get("A")?, alpha: get("alpha")?, b: get("B")?, beta: get("beta")? };
    let mut compute = request.compute.clone();
    compute.extend(table.iter().flat_map(|t| &t.entries).filter_map(|e| e.number(super::request::Role::C)));
    let mut law = begin(request, "determined");
    let given = request.coefficients.iter();
    let given: Map<String, Value> =
        given.map(|(k, v)| (k.clone(), coefficient(*v, (Some(*v), Some(*v))))).collect();
    law.insert("coefficients".into(), given.into());
    law.insert("optimal".into(), split(&joint, &compute, &request.targets));
    Ok(law)
}
