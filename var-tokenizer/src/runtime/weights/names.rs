//! Names as trainers and wrappers change them: finds the networks in a set of tensors and gives them their own names.

use std::collections::{BTreeMap, BTreeSet};

use super::checkpoint::Role;
use super::state_dict::StateDict;

/// Parts of names that wrappers put in, in front or inside: data parallel training, compiled modules, checkpointed
/// blocks.
const WRAPPERS: [&str; 5] =
    ["module", "_orig_mod", "_forward_module", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// The sets of tensors in `dict`, which lies at `key` in its file, by the keys that lead to them. A prefix before all
/// names of a network is taken off; several networks in one dictionary become parts of their own.
pub(super) fn split(key: String, mut dict: StateDict) -> BTreeMap<String, StateDict> {
    unwrap(&mut dict);
    let prefixes: BTreeSet<String> = names(&dict).filter_map(prefix_of).map(str::to_owned).collect();
    if prefixes.iter().all(String::is_empty) {
        return BTreeMap::from([(key, dict)]);
    }
    let StateDict { name: file, tensors, metadata, skipped, notes } = dict;
    let fresh = || StateDict {
        name: file.clone(),
        metadata: metadata.clone(),
        notes: notes.clone(),
        ..StateDict::default()
    };
    // The longest prefix that fits, and the name behind it.
    let divided = |name: &str| -> (String, String) {
        let prefix = prefixes.iter().rev().find(|prefix| name.starts_with(prefix.as_str()));
        let (prefix, rest) = name.split_at(prefix.map_or(0, String::len));
        (prefix.to_owned(), rest.to_owned())
    };
    let mut sets: BTreeMap<String, StateDict> = BTreeMap::new();
    for (name, stored) in tensors {
        let (prefix, name) = divided(&name);
        sets.entry(prefix).or_insert_with(fresh).tensors.insert(name, stored);
    }
    for (name, what) in skipped {
        let (prefix, name) = divided(&name);
        sets.entry(prefix).or_insert_with(fresh).skipped.insert(name, what);
    }
    let only = sets.len() == 1;
    let others = sets.get("").filter(|_| !prefixes.contains("")).map(|set| names(set).count());
    sets.into_iter()
        .map(|(prefix, mut set)| {
            if prefix.is_empty() {
                return (key.clone(), set);
            }
            set.notes.push(format!("names begin with `{prefix}`, which is taken off"));
            if only {
                return (key.clone(), set);
            }
            if let Some(others) = others {
                set.notes.push(format!("skips {others} tensors without a network's prefix"));
            }
            let part = prefix.trim_end_matches('.');
            let part = if key.is_empty() { part.to_owned() } else { format!("{key}/{part}") };
            set.name = format!("{file} ({part})");
            (part, set)
        })
        .collect()
}

fn names(dict: &StateDict) -> impl Iterator<Item = &str> {
    dict.tensors.keys().chain(dict.skipped.keys()).map(String::as_str)
}

/// What stands before the name of a tensor that tells a network; empty for one that has its own name.
fn prefix_of(name: &str) -> Option<&str> {
    let before = Role::ALL.iter().find_map(|role| name.strip_suffix(role.marker()))?;
    (before.is_empty() || before.ends_with('.')).then_some(before)
}

/// Takes off what wrappers put into names, where that leaves different names and a network, or stands before all of
/// them.
fn unwrap(dict: &mut StateDict) {
    let parts = |name: &str| name.split('.').any(|part| WRAPPERS.contains(&part));
    if !names(dict).any(parts) {
        return;
    }
    let bare =
        |name: &str| name.split('.').filter(|part| !WRAPPERS.contains(part)).collect::<Vec<_>>().join(".");
    let short: BTreeSet<String> = names(dict).map(bare).collect();
    let network = short.iter().any(|name| prefix_of(name).is_some());
    let different = short.len() == dict.tensors.len() + dict.skipped.len();
    let in_front = |name: &str| WRAPPERS.iter().any(|wrapper| name.split('.').next() == Some(wrapper));
    if !different || !(network || names(dict).all(in_front)) {
        return;
    }
    let found: Vec<String> = WRAPPERS
        .iter()
        .filter(|wrapper| names(dict).any(|name| name.split('.').any(|part| part == **wrapper)))
        .map(|wrapper| format!("`{wrapper}.`"))
        .collect();
    dict.notes.push(format!("names have {}, which is taken off", found.join(" and ")));
    dict.tensors =
        std::mem::take(&mut dict.tensors).into_iter().map(|(name, stored)| (bare(&name), stored)).collect();
    dict.skipped =
        std::mem::take(&mut dict.skipped).into_iter().map(|(name, what)| (bare(&name), what)).collect();
}
