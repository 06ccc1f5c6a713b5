//! The page of all settings, `docs/settings.md`.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};
use var_train::settings::{ModelRun, TokenizerRun};

/// The cells of each row of the page, by key.
fn rows() -> BTreeMap<String, Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/settings.md");
    let text = std::fs::read_to_string(page).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let mut cells =
            line.trim_matches('|').split(" | ").map(|cell| cell.trim().trim_matches('`').to_owned());
        (cells.next().unwrap(), cells.collect())
    })
    .collect()
}

/// Whether two values are equal, whole numbers and others alike.
fn equal(a: &Value, b: &Value) -> bool {
    let number = |v: &Value| v.as_float().or_else(|| v.as_integer().map(|i| i as f64));
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

#[test]
fn it_has_every_key_with_its_default_and_no_other() {
    let mut rows = rows();
    let model = Table::try_from(ModelRun::default()).unwrap();
    let tokenizer = Table::try_from(TokenizerRun::preset("nano", [""; 0]).unwrap()).unwrap();
    let mut wrong = Vec::new();
    let mut seen = Vec::new();
    for (run, column) in [(&model, 0), (&tokenizer, 1)] {
        for (section, keys) in run {
            for (key, value) in keys.as_table().unwrap() {
                let full = format!("{section}.{key}");
                let column = if section == "training" { column } else { 0 };
                let cell = rows.get(&full).and_then(|cells| cells.get(column)).cloned().unwrap_or_default();
                let found =
                    format!("x = {cell}").parse::<Table>().ok().and_then(|table| table.get("x").cloned());
                if !found.is_some_and(|found| equal(&found, value)) {
                    wrong.push(format!("{full}: the page has {cell}, the program {value}"));
                }
                seen.push(full);
            }
        }
    }
    seen.iter().for_each(|key| drop(rows.remove(key)));
    wrong.extend(rows.into_keys().map(|key| format!("{key}: no such setting")));
    assert!(wrong.is_empty(), "{wrong:#?}");
}
