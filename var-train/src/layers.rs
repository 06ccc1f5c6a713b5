//! Layers of settings as TOML tables: every key known, a typo answered with a near one.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};
use var_tokenizer::nearest::nearest;

use crate::error::{Error, Result};

/// The settings that a person gave, by file or flag: those of a preset are nobody's.
#[derive(Debug, Clone, Default)]
pub struct Given(BTreeSet<String>);

impl Given {
    /// These keys, each with its section (`training.steps`).
    pub fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| (*key).to_owned()).collect())
    }

    /// Adds all keys of a file's tables.
    pub fn add(&mut self, changes: &Table) {
        for (section, keys) in changes.iter().filter_map(|(name, value)| Some((name, value.as_table()?))) {
            self.0.extend(keys.keys().map(|key| format!("{section}.{key}")));
        }
    }

    /// Whether `key` was given.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains(key)
    }
}

/// Lays `changes` over `base`, which knows every key.
///
/// # Errors
/// Names an unknown key, and a known one where one is near.
pub fn overlay(base: &mut Table, changes: &Table, origin: &str) -> Result<()> {
    overlay_at(base, changes, origin, "")
}

fn overlay_at(base: &mut Table, changes: &Table, origin: &str, prefix: &str) -> Result<()> {
    for (key, value) in changes {
        match (base.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(changes)) => {
                overlay_at(inner, changes, origin, &format!("{prefix}{key}."))?;
            }
            (Some(place), value) => *place = like(place, value),
            (None, _) => {
                let known: Vec<&str> = base.keys().map(String::as_str).collect();
                return Err(unknown(&format!("{prefix}{key}"), key, &known, prefix, origin));
            }
        }
    }
    Ok(())
}

/// A whole number where a float stands is meant as one.
fn like(place: &Value, value: &Value) -> Value {
    match (place, value) {
        (Value::Float(_), Value::Integer(n)) => Value::Float(*n as f64),
        _ => value.clone(),
    }
}

fn unknown(full: &str, key: &str, known: &[&str], prefix: &str, origin: &str) -> Error {
    let meant = nearest(key, known.iter().copied());
    let hint = meant.map(|meant| format!("; did you mean '{prefix}{meant}'?")).unwrap_or_default();
    Error::config(format!("{origin}: unknown key '{full}'; known there: {}{hint}", known.join(", ")))
}

/// Sets `key=value`; the key may leave its section away where it stands in one section alone. Notes it in `given`.
///
/// # Errors
/// When the text has no `=`, the key is unknown, or the value is no TOML.
pub fn set(base: &mut Table, assignment: &str, given: &mut Given) -> Result<()> {
    let Some((key, text)) = assignment.split_once('=') else {
        return Err(Error::config(format!("--set {assignment}: write key=value, e.g. --set batch=64")));
    };
    let (key, text) = (key.trim(), text.trim());
    // What is no TOML value is taken as text: --set shape=lin0 needs no quotes; or as a list:
    // --set schedule=1,2,3,4 needs no brackets.
    let toml = |text: &str| format!("x = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("x"));
    let value = toml(text)
        .or_else(|| text.contains(',').then(|| toml(&format!("[{text}]"))).flatten())
        .unwrap_or_else(|| Value::String(text.to_owned()));
    let section = match key.split_once('.') {
        Some((_, leaf)) if leaf.contains('.') => None,
        Some((section, _)) => Some(section.to_owned()),
        None => base
            .iter()
            .find(|(_, v)| v.as_table().is_some_and(|t| t.contains_key(key)))
            .map(|(section, _)| section.clone()),
    };
    let leaf = key.rsplit('.').next().unwrap_or(key);
    let Some(section) = section else {
        let known: Vec<&str> =
            base.values().filter_map(Value::as_table).flat_map(|t| t.keys().map(String::as_str)).collect();
        return Err(unknown(key, leaf, &known, "", "--set"));
    };
    let mut inner = Table::new();
    inner.insert(leaf.to_owned(), value);
    let mut changes = Table::new();
    changes.insert(section, Value::Table(inner));
    overlay(base, &changes, "--set")?;
    given.add(&changes);
    Ok(())
}

/// The settings as a table that knows every key.
///
/// # Errors
/// Never in practice: settings are plain data.
pub fn to_table<T: Serialize>(settings: &T) -> Result<Table> {
    Table::try_from(settings).map_err(|e| Error::config(e.to_string()))
}

/// The table as settings.
///
/// # Errors
/// When a value has the wrong type.
pub fn from_table<T: DeserializeOwned>(table: &Table) -> Result<T> {
    table.clone().try_into().map_err(|e: toml::de::Error| {
        Error::config(e.to_string().split_whitespace().collect::<Vec<_>>().join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::ModelRun;

    #[test]
    fn a_typo_names_the_key_and_the_nearest_known_one() {
        let mut table = to_table(&ModelRun::default()).unwrap();
        let changes = "[training]\nlearnin_rate = 1e-3".parse().unwrap();
        let message = overlay(&mut table, &changes, "run.toml").unwrap_err().to_string();
        assert!(message.contains("training.learnin_rate"), "{message}");
        assert!(message.contains("did you mean 'training.learning_rate'"), "{message}");
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let mut table = to_table(&ModelRun::default()).unwrap();
        let message = set(&mut table, "quality=3", &mut Given::default()).unwrap_err().to_string();
        assert!(!message.contains("did you mean") && message.contains("known there: "), "{message}");
    }

    #[test]
    fn set_finds_the_section_and_keeps_types() {
        let mut table = to_table(&ModelRun::default()).unwrap();
        let mut given = Given::default();
        set(&mut table, "learning_rate=1", &mut given).unwrap();
        set(&mut table, "shape=lin0", &mut given).unwrap();
        set(&mut table, "model.depth=3", &mut given).unwrap();
        assert!(given.has("training.learning_rate") && given.has("model.depth") && !given.has("model.width"));
        let run: ModelRun = from_table(&table).unwrap();
        assert_eq!((run.training.learning_rate, run.model.depth), (1.0, 3));
        assert!(set(&mut table, "dept=3", &mut given).unwrap_err().to_string().contains("'depth'"));
        assert!(set(&mut table, "depth", &mut given).is_err());
    }
}
