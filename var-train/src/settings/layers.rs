//! Layers of settings as TOML tables. Every key is known; an unknown one is an error that names the nearest.

use std::collections::BTreeSet;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};
use var_tokenizer::nearest::{explain_wrong_value, nearest};

use crate::error::{Error, Result};

/// The settings that a file or a single assignment sets. Those of a preset do not count.
#[derive(Debug, Clone, Default)]
pub struct Given(BTreeSet<String>);

impl Given {
    /// These keys, with their sections (`training.steps`).
    #[cfg(test)]
    pub(super) fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| (*key).to_owned()).collect())
    }

    /// Adds all keys of a file's tables.
    pub(super) fn add(&mut self, changes: &Table) {
        for (section, keys) in changes.iter().filter_map(|(name, value)| Some((name, value.as_table()?))) {
            self.0.extend(keys.keys().map(|key| format!("{section}.{key}")));
        }
    }

    /// The given keys of `section`.
    pub(super) fn below(&self, section: &str) -> impl Iterator<Item = &str> {
        let prefix = format!("{section}.");
        self.0.iter().map(String::as_str).filter(move |key| key.starts_with(&prefix))
    }

    /// Whether `key` was given.
    pub fn has(&self, key: &str) -> bool {
        self.0.contains(key)
    }
}

/// Puts `changes` over `base`, which knows every key. `origin` names the layer in errors.
///
/// # Errors
/// Names an unknown key and the nearest known one.
pub(crate) fn overlay(base: &mut Table, changes: &Table, origin: &str) -> Result<()> {
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
                return Err(unknown(origin, prefix, key, &known));
            }
        }
    }
    Ok(())
}

/// Turns a whole number into a float, where the setting is a float.
fn like(place: &Value, value: &Value) -> Value {
    match (place, value) {
        (Value::Float(_), Value::Integer(n)) => Value::Float(*n as f64),
        _ => value.clone(),
    }
}

fn unknown(origin: &str, section: &str, key: &str, known: &[&str]) -> Error {
    let hint = match nearest(key, known.iter().copied()) {
        Some(meant) => format!("; did you mean '{section}{meant}'?"),
        None => format!(" (known keys: {})", known.join(", ")),
    };
    let origin = if origin.is_empty() { String::new() } else { format!("{origin}: ") };
    Error::config(format!("{origin}unknown key '{section}{key}'{hint}"))
}

/// Sets `key=value`, and notes the key in `given`. The key needs its section only where several sections have it.
///
/// # Errors
/// When the text has no `=` or the key is unknown.
pub(crate) fn set(base: &mut Table, assignment: &str, given: &mut Given) -> Result<()> {
    let Some((key, text)) = assignment.split_once('=') else {
        return Err(Error::config(format!("setting '{assignment}': write key=value, for example batch=64")));
    };
    let key = key.trim();
    let (section, leaf) = match key.rsplit_once('.') {
        Some((section, leaf)) => (Some(section.to_owned()), leaf),
        None => {
            let holds = |table: &Value| table.as_table().is_some_and(|table| table.contains_key(key));
            let sections: Vec<&String> =
                base.iter().filter(|(_, table)| holds(table)).map(|(section, _)| section).collect();
            if sections.len() > 1 {
                let names: Vec<String> = sections.iter().map(|section| format!("{section}.{key}")).collect();
                let text = format!("setting '{key}' is in several sections: write {}", names.join(" or "));
                return Err(Error::config(text));
            }
            (sections.first().map(|section| (*section).clone()), key)
        }
    };
    // `a.b.c` is not a key of any section.
    let Some(section) = section.filter(|section| !section.contains('.')) else {
        let sections = base.iter().filter_map(|(name, table)| Some((name, table.as_table()?)));
        let known: Vec<String> =
            sections.flat_map(|(name, table)| table.keys().map(move |key| format!("{name}.{key}"))).collect();
        let leaves = known.iter().filter_map(|key| key.split_once('.')).map(|(_, leaf)| leaf);
        let meant = nearest(key, leaves).unwrap_or(key);
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let meant = known.iter().find(|full| full.split_once('.').is_some_and(|(_, leaf)| leaf == meant));
        return Err(match meant {
            Some(meant) => Error::config(format!("unknown key '{key}'; did you mean '{meant}'?")),
            None => unknown("", "", key, &known),
        });
    };
    let mut inner = Table::new();
    let value = value_of(text.trim());
    // One number for a list is a list of one, such as `schedule=8`.
    let is_list = base.get(&section).and_then(|table| table.get(leaf)).is_some_and(Value::is_array);
    let value = if is_list && !value.is_array() { Value::Array(vec![value]) } else { value };
    inner.insert(leaf.to_owned(), value);
    let mut changes = Table::new();
    changes.insert(section, Value::Table(inner));
    overlay(base, &changes, "")?;
    given.add(&changes);
    Ok(())
}

/// The TOML value of a text. A list needs no brackets (`1,2,3`), and other text no quotes (`lin0`).
fn value_of(text: &str) -> Value {
    let toml = |text: &str| format!("x = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("x"));
    toml(text)
        .or_else(|| text.contains(',').then(|| toml(&format!("[{text}]"))).flatten())
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

/// The settings as a table that knows every key.
///
/// # Errors
/// When a value has no place in TOML; the settings have no such value.
pub(crate) fn to_table<T: Serialize>(settings: &T) -> Result<Table> {
    Table::try_from(settings).map_err(|e| Error::config(e.to_string()))
}

/// The table as settings.
///
/// # Errors
/// When a value has the wrong type.
pub(crate) fn from_table<T: DeserializeOwned>(table: &Table) -> Result<T> {
    table.clone().try_into().map_err(|e: toml::de::Error| {
        let text = e.to_string().split_whitespace().collect::<Vec<_>>().join(" ");
        Error::config(explain_wrong_value(&text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ModelRun, TokenizerRun};

    #[test]
    fn a_key_of_several_sections_needs_its_section() {
        let mut table = to_table(&crate::settings::TokenizerRun::default()).unwrap();
        let message = set(&mut table, "weight=1", &mut Given::default()).unwrap_err().to_string();
        assert!(message.contains("adversary.weight or perceptual.weight"), "{message}");
        set(&mut table, "perceptual.weight=1", &mut Given::default()).unwrap();
    }

    #[test]
    fn a_typo_names_the_key_and_the_nearest_known_one() {
        let mut table = to_table(&ModelRun::default()).unwrap();
        let changes = "[training]\nlearnin_rate = 1e-3".parse().unwrap();
        let message = overlay(&mut table, &changes, "run.toml").unwrap_err().to_string();
        assert!(message.contains("training.learnin_rate"), "{message}");
        assert!(message.ends_with("; did you mean 'training.learning_rate'?"), "{message}");
    }

    #[test]
    fn only_a_near_name_is_suggested() {
        let mut table = to_table(&ModelRun::default()).unwrap();
        let message = set(&mut table, "quality=3", &mut Given::default()).unwrap_err().to_string();
        assert!(!message.contains("did you mean") && message.contains("known keys: "), "{message}");
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
        assert!(set(&mut table, "dept=3", &mut given).unwrap_err().to_string().contains("'model.depth'"));
        assert!(set(&mut table, "depth", &mut given).is_err());
    }

    #[test]
    fn one_number_for_a_list_is_a_list_of_one() {
        let mut table = to_table(&TokenizerRun::default()).unwrap();
        for (text, sides) in [("schedule=8", vec![8]), ("schedule=1,2,4", vec![1, 2, 4])] {
            set(&mut table, text, &mut Given::default()).unwrap();
            let run: TokenizerRun = from_table(&table).unwrap();
            assert_eq!(run.tokenizer.schedule.sides(), sides);
        }
    }
}
