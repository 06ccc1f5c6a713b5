//! What the names of picture files say: class folders, and `train/` beside `val/`.
//!
//! Folders and tars share these rules, so that packing a folder changes nothing:
//!
//! - `CLASS/…/picture`: the first folder is the class; deeper folders mean nothing.
//! - `train/CLASS/…` beside `val/CLASS/…` (or `valid`, `validation`, `test`): a split of the data set's own.
//! - `picture` without a folder: all are of one class.
//! - A folder around everything is left out of account.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::split::Split;
use crate::error::{Error, Result};

/// Names of a folder of held-out pictures; the first that exists is taken.
pub(crate) const HELD_OUT: [&str; 4] = ["val", "valid", "validation", "test"];

/// One picture of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Which of the given names.
    pub(crate) position: usize,
    /// Index into the class names.
    pub(crate) class: u32,
    /// The part it belongs to, if the names say.
    pub(crate) split: Option<Split>,
}

/// Pictures in order of their names, and the sorted names of the classes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Catalogue {
    /// The pictures.
    pub(crate) items: Vec<Item>,
    /// The classes.
    pub(crate) classes: Vec<String>,
}

/// Reads `names` (`/` between folders) of the source at `path`.
pub(crate) fn catalogue(path: &Path, names: &[String]) -> Result<Catalogue> {
    let mut sorted: Vec<(usize, &str)> = names.iter().map(String::as_str).enumerate().collect();
    sorted.sort_by_key(|(_, name)| *name);
    if sorted.is_empty() {
        return Err(Error::file(
            path,
            format!(
                "holds no pictures; expected class folders with {} files",
                super::decode::ENDINGS.join(", ")
            ),
        ));
    }
    strip_common_folder(&mut sorted);
    let folders: BTreeSet<&str> =
        sorted.iter().filter_map(|(_, name)| Some(name.split_once('/')?.0)).collect();
    let held_out = HELD_OUT.into_iter().find(|name| folders.contains(name));
    let lone = path.file_stem().map_or_else(|| "all".into(), |s| s.to_string_lossy().into_owned());
    let labelled = match held_out.filter(|_| folders.contains("train")) {
        None => by_class(path, sorted, &lone)?.into_iter().map(|(i, class)| (i, class, None)).collect(),
        Some(held_out) => by_split(path, &sorted, held_out, &lone)?,
    };
    let classes: BTreeSet<&str> = labelled.iter().map(|(_, class, _)| class.as_str()).collect();
    let numbers: BTreeMap<&str, u32> = classes.iter().copied().zip(0..).collect();
    let items = labelled
        .iter()
        .map(|(position, class, split)| Item {
            position: *position,
            class: numbers.get(class.as_str()).copied().unwrap_or(0),
            split: *split,
        })
        .collect();
    Ok(Catalogue { items, classes: classes.into_iter().map(str::to_owned).collect() })
}

/// Takes off a first folder that all names share, as long as two levels remain below it.
fn strip_common_folder(names: &mut [(usize, &str)]) {
    while let Some(first) = names.first().and_then(|(_, name)| Some(name.split_once('/')?.0)) {
        let inner = |name: &str| {
            name.split_once('/').filter(|(folder, _)| *folder == first).map(|(_, rest)| rest.len())
        };
        let shared = names
            .iter()
            .all(|(_, name)| inner(name).is_some_and(|length| name[name.len() - length..].contains('/')));
        if !shared {
            break;
        }
        for (_, name) in names.iter_mut() {
            *name = name.split_once('/').map_or(*name, |(_, rest)| rest);
        }
    }
}

/// The class of each name: its first folder, or `lone` for all when none has a folder.
fn by_class(path: &Path, names: Vec<(usize, &str)>, lone: &str) -> Result<Vec<(usize, String)>> {
    let loose = names.iter().filter(|(_, name)| !name.contains('/')).count();
    if loose > 0 && loose < names.len() {
        let example = names.iter().find(|(_, name)| !name.contains('/')).map_or("", |(_, name)| name);
        return Err(Error::file(
            path,
            format!(
                "{loose} pictures lie beside the class folders, e.g. {example}: move them into one, or away"
            ),
        ));
    }
    Ok(names
        .into_iter()
        .map(|(i, name)| {
            (i, name.split_once('/').map_or_else(|| lone.to_owned(), |(class, _)| class.to_owned()))
        })
        .collect())
}

/// The pictures of `train/` and of the folder `held_out`; others (an unlabelled `test/`) are left out.
fn by_split(
    path: &Path,
    names: &[(usize, &str)],
    held_out: &str,
    lone: &str,
) -> Result<Vec<(usize, String, Option<Split>)>> {
    let mut result = Vec::new();
    for (folder, split) in [("train", Split::Train), (held_out, Split::Val)] {
        let inside = names
            .iter()
            .filter_map(|&(i, name)| Some((i, name.split_once('/').filter(|(first, _)| *first == folder)?.1)))
            .collect();
        result.extend(by_class(path, inside, lone)?.into_iter().map(|(i, class)| (i, class, Some(split))));
    }
    let known: BTreeSet<&str> = result
        .iter()
        .filter(|(_, _, s)| *s == Some(Split::Train))
        .map(|(_, class, _)| class.as_str())
        .collect();
    check_held_out_classes(path, held_out, &known, result.iter().map(|(_, class, _)| class.as_str()))?;
    Ok(result)
}

/// Refuses held-out classes that are not trained on.
pub(crate) fn check_held_out_classes<'a>(
    path: &Path,
    held_out: &str,
    known: &BTreeSet<&str>,
    found: impl Iterator<Item = &'a str>,
) -> Result<()> {
    let unknown: BTreeSet<&str> = found.filter(|class| !known.contains(class)).collect();
    if let Some(first) = unknown.first() {
        return Err(Error::file(
            path,
            format!(
                "{held_out} has {} classes that train lacks, e.g. '{first}': both need the same class folders",
                unknown.len()
            ),
        ));
    }
    Ok(())
}
