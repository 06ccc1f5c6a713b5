//! Classes that lie in files: beside each picture, as in WebDataset's tars, or in one table.
//!
//! `000.jpg` has its class in `000.cls` (a number), or in `000.json` under one of [`KEYS`] (a number or a name).

use std::collections::HashMap;
use std::fmt;

use super::catalogue::Files;
use super::stock::Stock;
use crate::runtime::error::{Error, Result};

/// Where a JSON file has the class.
const KEYS: [&str; 4] = ["label", "cls", "class", "class_id"];
/// Numbers from here on are refused: class numbers, not identifiers, are expected.
const MAX_CLASSES: u64 = 1 << 20;
/// Longest file of one label, and of all.
const MAX_LABEL: u64 = 1 << 20;
const MAX_TABLE: u64 = 256 << 20;

/// A class before the classes are counted.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// By its number.
    Number(u32),
    /// By its name.
    Name(String),
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl Class {
    fn number(number: u64) -> std::result::Result<Self, String> {
        let number = u32::try_from(number).ok().filter(|&n| u64::from(n) < MAX_CLASSES);
        number.map(Self::Number).ok_or_else(|| format!("a label is not from 0 to {}", MAX_CLASSES - 1))
    }
}

/// The classes of pictures in the folder `part` (empty, or with a slash) by the files beside them; none when no
/// picture has such a file.
///
/// # Errors
/// When some pictures have one and others do not, or one cannot be understood.
pub(crate) fn beside(
    files: &Files<'_>,
    names: &[(usize, &str)],
    part: &str,
) -> Result<Option<Vec<(usize, Class)>>> {
    let mut found = Vec::with_capacity(names.len());
    let mut without = Vec::new();
    for &(position, name) in names {
        let whole = format!("{}{part}{name}", files.root);
        match label(files, &whole)? {
            Some(class) => found.push((position, class)),
            None => without.push(whole),
        }
    }
    match without.first() {
        None => Ok(Some(found)),
        Some(_) if found.is_empty() => Ok(None),
        Some(example) => {
            let message = format!(
                "{} pictures have a label beside them (.cls or .json), {} have none, e.g. {example}",
                found.len(),
                without.len()
            );
            Err(Error::file(files.stock.path(), message))
        }
    }
}

/// Whether any file of `stock` is a label as [`beside`] looks for.
pub(crate) fn has_labels(stock: &Stock) -> bool {
    stock.names().iter().any(|name| name.ends_with(".cls") || name.ends_with(".json"))
}

/// The class of the picture with the whole name `name`, from the file beside it.
fn label(files: &Files<'_>, name: &str) -> Result<Option<Class>> {
    let (folder, base) = name.rsplit_once('/').map_or(("", name), |(folder, base)| (folder, base));
    // WebDataset's key: all before the first dot.
    let key = base.split_once('.').map_or(base, |(key, _)| key);
    let slash = if folder.is_empty() { "" } else { "/" };
    for (ending, parse) in [("cls", of_text as fn(&str) -> _), ("json", of_json)] {
        let beside = format!("{folder}{slash}{key}.{ending}");
        let Some(&position) = files.positions.get(beside.as_str()) else { continue };
        let bytes = files.stock.read(position, MAX_LABEL)?;
        let text = String::from_utf8_lossy(&bytes);
        let class = parse(text.trim_start_matches('\u{feff}').trim());
        let class = class.map_err(|reason| Error::file(files.stock.path().join(&beside), reason))?;
        if class.is_some() {
            return Ok(class);
        }
    }
    Ok(None)
}

fn of_text(text: &str) -> std::result::Result<Option<Class>, String> {
    let number = text.parse().map_err(|_| format!("expected a class number, found '{}'", start(text)))?;
    Class::number(number).map(Some)
}

/// The class in a JSON object; none when it has none of the keys.
fn of_json(text: &str) -> std::result::Result<Option<Class>, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("damaged JSON: {e}"))?;
    let Some((key, value)) = KEYS.iter().find_map(|key| Some((key, value.get(key)?))) else {
        return Ok(None);
    };
    match (value.as_u64(), value.as_str()) {
        (Some(number), _) => Class::number(number).map(Some),
        (_, Some(name)) => Ok(Some(Class::named(name))),
        _ => Err(format!("expected a class number or name under {key}, found {}", start(&value.to_string()))),
    }
}

fn start(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(40).collect()
}

/// The classes of the folder `part` by file name, if it has Tiny ImageNet's table: a line per picture, its name and
/// its class first, tabs or spaces between.
pub(crate) fn table(files: &Files<'_>, part: &str) -> Result<Option<HashMap<String, Class>>> {
    let name = format!("{}{part}/{part}_annotations.txt", files.root);
    let Some(&position) = files.positions.get(name.as_str()) else { return Ok(None) };
    let bytes = files.stock.read(position, MAX_TABLE)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.trim_start_matches('\u{feff}').lines().filter_map(|line| {
        let mut fields = line.split(['\t', ' ', ',']);
        Some((fields.next()?.to_owned(), Class::named(fields.next()?)))
    });
    Ok(Some(lines.collect()))
}

/// The classes of `names`, in the folder `part`, by a table of file names.
///
/// # Errors
/// When a picture is not in it.
pub(crate) fn by_table(
    files: &Files<'_>,
    names: &[(usize, &str)],
    part: &str,
    table: &HashMap<String, Class>,
) -> Result<Vec<(usize, Class)>> {
    names
        .iter()
        .map(|&(position, name)| {
            let base = name.rsplit('/').next().unwrap_or(name);
            let class = table.get(base).cloned();
            class.map(|class| (position, class)).ok_or_else(|| {
                let message = format!(
                    "{part}/{part}_annotations.txt has no line for {base}; add it, or remove the picture"
                );
                Error::file(files.stock.path(), message)
            })
        })
        .collect()
}
