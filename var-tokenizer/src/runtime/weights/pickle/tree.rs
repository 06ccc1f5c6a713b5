//! Finding dictionaries of tensors in what a pickle built.

use std::collections::{BTreeMap, HashSet};

use super::machine::Unpickled;
use super::values::{Id, Value, View};

/// Deepest nesting that is looked into.
const DEEPEST: usize = 32;

/// The tensors of one dictionary.
#[derive(Debug, Default)]
pub(crate) struct Part {
    pub tensors: BTreeMap<String, View>,
    /// Those that are not read, and what they are.
    pub skipped: BTreeMap<String, String>,
}

/// What there is in a checkpoint.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Dictionaries that hold tensors, by the keys that lead to them, joined by `/`; "" is the outermost.
    pub parts: BTreeMap<String, Part>,
    /// Sides of the token maps (`patch_nums`), which the published trainer writes down.
    pub schedule: Option<Vec<usize>>,
}

/// Looks at every value once.
pub(crate) fn explore(unpickled: &Unpickled) -> Found {
    let arena = &unpickled.arena;
    let mut found = Found::default();
    let mut seen = HashSet::new();
    let mut todo = vec![(String::new(), unpickled.root, 0)];
    while let Some((path, id, depth)) = todo.pop() {
        if depth > DEEPEST || !seen.insert(id) {
            continue;
        }
        let children: Vec<(String, Id)> = match arena.get(id) {
            Value::Dict(entries) => {
                entries.iter().filter_map(|&(key, value)| Some((text(arena.get(key))?, value))).collect()
            }
            Value::List(items) => items.iter().enumerate().map(|(i, &item)| (i.to_string(), item)).collect(),
            _ => continue,
        };
        let mut part = Part::default();
        for (key, child) in children {
            match arena.get(child) {
                Value::Tensor(view) => {
                    part.tensors.insert(key, view.clone());
                }
                Value::Foreign(what) => {
                    part.skipped.insert(key, what.clone());
                }
                Value::List(_) if key == "patch_nums" => {
                    let sides = arena.ints(child).unwrap_or_default();
                    found.schedule = sides.iter().map(|&side| usize::try_from(side).ok()).collect();
                }
                Value::Dict(_) | Value::List(_) => {
                    let path = if path.is_empty() { key } else { format!("{path}/{key}") };
                    todo.push((path, child, depth + 1));
                }
                _ => {}
            }
        }
        if !part.tensors.is_empty() || !part.skipped.is_empty() {
            found.parts.insert(path, part);
        }
    }
    found
}

fn text(key: &Value) -> Option<String> {
    match key {
        Value::Text(text) => Some(text.clone()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}
