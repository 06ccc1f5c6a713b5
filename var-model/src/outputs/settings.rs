//! The settings of a call as JSON next to its outputs. A call that resumes must have the same settings.

use std::path::Path;

use serde_json::Value;
use var_tokenizer::files::write_atomically;

use crate::error::{Error, Result};

/// Keys of paths. They may differ: the SHA-256 next to them says whether the files are the same.
const PLACES: [&str; 1] = ["file"];

/// Writes settings, whole or not at all.
///
/// # Errors
/// When the disk is full or the folder cannot be written.
pub(crate) fn write(path: &Path, settings: &Value) -> Result<()> {
    let mut text =
        serde_json::to_string_pretty(settings).map_err(|e| Error::Config(format!("settings: {e}")))?;
    text.push('\n');
    write_atomically(path, text.as_bytes())
}

/// The settings of an earlier call; `None` if there is no file.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read(path: &Path) -> Result<Option<Value>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io(path, e)),
    };
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|e| Error::file(path, format!("is not a settings file of this program: {e}")))
}

/// The first setting in which two calls differ, as text; `None` if all agree.
pub(crate) fn difference(before: &Value, now: &Value) -> Option<String> {
    differ("", before, now)
}

fn differ(name: &str, before: &Value, now: &Value) -> Option<String> {
    if let (Some(old), Some(new)) = (before.as_object(), now.as_object()) {
        let keys = new.keys().chain(old.keys().filter(|key| !new.contains_key(*key)));
        return keys.filter(|key| !PLACES.contains(&key.as_str())).find_map(|key| {
            let name = if name.is_empty() { key.clone() } else { format!("{name}.{key}") };
            differ(&name, old.get(key).unwrap_or(&Value::Null), new.get(key).unwrap_or(&Value::Null))
        });
    }
    (before != now).then(|| format!("{name} {} before, {} now", shown(before), shown(now)))
}

fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    if text.chars().count() > 80 { format!("{}…", text.chars().take(79).collect::<String>()) } else { text }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_difference_is_named_and_places_are_none() {
        let before = json!({"model": {"file": "a", "sha256": "1"}, "seed": 1, "sampling": {"cfg": 1.5}});
        let mut now = json!({"model": {"file": "b", "sha256": "1"}, "seed": 1, "sampling": {"cfg": 1.5}});
        assert_eq!(difference(&before, &now), None);
        now["sampling"]["cfg"] = json!(2.0);
        assert_eq!(difference(&before, &now).unwrap(), "sampling.cfg 1.5 before, 2.0 now");
        now["rejection"] = json!({"keep": 0.5});
        now["seed"] = json!(2);
        assert_eq!(difference(&before, &now).unwrap(), "seed 1 before, 2 now");
        assert!(difference(&now, &before).unwrap().contains("seed 2 before"));
    }

    #[test]
    fn a_setting_that_only_one_of_both_has_is_a_difference() {
        assert_eq!(difference(&json!({"a": 1}), &json!({})).unwrap(), "a 1 before, none now");
        assert_eq!(difference(&json!({}), &json!({"a": {"b": 1}})).unwrap(), "a none before, {\"b\":1} now");
    }
}
