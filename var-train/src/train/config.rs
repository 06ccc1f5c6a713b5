//! `config.toml` of a run folder: everything that a resume must have the same.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tch::Kind;
use toml::Table;
use var_tokenizer::torch::Precision;

use super::options::Options;
use crate::earlier::Start;
use crate::error::{Error, Result};
use crate::run::RunFolder;
use crate::settings::layers::{from_table, to_table};
use crate::settings::resolve::read_toml;

/// The content of `config.toml`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored<T> {
    /// `model` or `tokenizer`.
    pub kind: String,
    /// `f32`, `bf16` or `fp16`.
    pub precision: String,
    /// The data as given.
    pub data: String,
    /// SHA-256 of the token file, or of the list of images.
    pub data_sha256: String,
    /// SHA-256 of the tokenizer's file; empty in a run that trains a tokenizer.
    pub tokenizer_sha256: String,
    /// All settings.
    pub settings: T,
}

impl<T: Serialize> Stored<T> {
    /// Writes `config.toml`.
    pub fn write(&self, run: &RunFolder) -> Result<()> {
        run.write_config(&toml::to_string_pretty(self).map_err(|e| Error::config(e.to_string()))?)
    }
}

/// The precision of the run that is resumed, after checking that kind, settings, data, tokenizer and precision are those
/// of `asked`. `None` when the run starts. `asked.precision` may be `auto`.
pub(super) fn precision_to_resume<T: Serialize + DeserializeOwned + PartialEq>(
    options: &Options,
    asked: &Stored<&T>,
) -> Result<Option<Kind>> {
    if options.start()? != Start::Resume {
        return Ok(None);
    }
    let path = options.out.join("config.toml");
    let refuse = |message: String| Err(Error::file(&path, message));
    let table = read_toml(&path)?;
    let kind = asked.kind.as_str();
    let found = table.get("kind").and_then(toml::Value::as_str).unwrap_or(kind);
    if found != kind {
        return refuse(format!(
            "the run was started by `var-train {found}`, not by `var-train {kind}`; use that command, or choose another \
             run folder"
        ));
    }
    let old: Stored<T> = from_table(&table).map_err(|e| Error::file(&path, e.to_string()))?;
    if old.settings != *asked.settings {
        let changed = difference(&to_table(&old.settings)?, &to_table(asked.settings)?, "").join(", ");
        return refuse(format!(
            "the run was started with other settings ({changed}); give the same settings, or choose another run folder"
        ));
    }
    if old.tokenizer_sha256 != asked.tokenizer_sha256 {
        return refuse("the run was started with another tokenizer; give that tokenizer".into());
    }
    if old.data_sha256 != asked.data_sha256 {
        return refuse(format!(
            "the run was started on other data ({}, SHA-256 {}…); give that data, or choose another run folder",
            old.data,
            old.data_sha256.get(..12).unwrap_or(&old.data_sha256)
        ));
    }
    let precision: Precision = old.precision.parse().map_err(|e| Error::file(&path, format!("{e}")))?;
    if options.precision != Precision::Auto && options.precision != precision {
        return refuse(format!(
            "the run was started in {precision}, not in {}; resume it in {precision}",
            options.precision
        ));
    }
    Ok(precision.kind())
}

/// Keys whose values differ, with both values.
fn difference(a: &Table, b: &Table, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (key, old) in a {
        match (old, b.get(key)) {
            (toml::Value::Table(x), Some(toml::Value::Table(y))) => {
                found.extend(difference(x, y, &format!("{prefix}{key}.")));
            }
            (old, Some(new)) if old == new => {}
            (old, new) => {
                let new = new.map_or_else(|| "nothing".to_owned(), ToString::to_string);
                found.push(format!("{prefix}{key}: {old} → {new}"));
            }
        }
    }
    found
}
