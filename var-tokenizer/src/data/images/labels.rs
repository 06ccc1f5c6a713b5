//! Reads classes from files: one next to each image, as in the tars of WebDataset, or one table.
//!
//! The class of `000.jpg` is in `000.cls` (a number), or in `000.json` under one of [`KEYS`] (a number or a name).

use std::collections::HashMap;
use std::fmt;

use unicode_normalization::UnicodeNormalization;

use super::stock::Stock;
use crate::runtime::error::{Error, Result};

/// Keys of the class in a JSON file.
const KEYS: [&str; 4] = ["label", "cls", "class", "class_id"];
/// Labels must be smaller: they are class numbers, not identifiers.
const MAX_CLASSES: u64 = 1 << 20;
/// Maximum size of a file with one label, and of a table, in bytes.
const MAX_LABEL: u64 = 1 << 20;
const MAX_TABLE: u64 = 256 << 20;

/// A class, by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Its number.
    Number(u32),
    /// Its name.
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
    /// Returns the class of a folder called `name`. Different Unicode encodings of a name give the same class.
    pub(crate) fn named(name: &str) -> Self {
        Self::Name(name.nfc().collect())
    }

    fn number(number: u64) -> std::result::Result<Self, String> {
        let number = u32::try_from(number).ok().filter(|&n| u64::from(n) < MAX_CLASSES);
        number.map(Self::Number).ok_or_else(|| format!("a label is not from 0 to {}", MAX_CLASSES - 1))
    }
}

/// The files of a source while it is catalogued.
pub(crate) struct Files<'a> {
    pub(crate) stock: &'a Stock,
    /// The folder around everything, with the slash.
    pub(crate) root: &'a str,
    /// Positions of all files that are not images, by whole name.
    pub(crate) positions: HashMap<&'a str, usize>,
    /// A sentence per thing that was skipped or decided.
    pub(crate) notes: Vec<String>,
}

/// Returns the classes of the images in the folder `part` (empty, or with a slash) from the files next to them, or
/// `None` when no image has such a file.
///
/// # Errors
/// When only some images have such a file, or a file is damaged.
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
                "{} images have a label next to them (.cls or .json), {} have none, e.g. {example}",
                found.len(),
                without.len()
            );
            Err(Error::file(files.stock.path(), message))
        }
    }
}

/// Whether `stock` holds files that [`beside`] reads.
pub(crate) fn has_labels(stock: &Stock) -> bool {
    stock.names().iter().any(|name| name.ends_with(".cls") || name.ends_with(".json"))
}

/// Returns the class of the image with the whole name `name`, from the file next to it.
fn label(files: &Files<'_>, name: &str) -> Result<Option<Class>> {
    let (folder, base) = name.rsplit_once('/').map_or(("", name), |(folder, base)| (folder, base));
    // The key in WebDataset is the name before the first dot.
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

/// Returns the class in a JSON object, or `None` when all keys are missing.
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

/// Reads the table of Tiny ImageNet in the folder `part`, if there is one: class by file name. A line starts with the
/// name and the class of an image, with tabs or spaces between.
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

/// Returns the classes of `names` in the folder `part` by a table of file names.
///
/// # Errors
/// When an image is not in the table.
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
                    "{part}/{part}_annotations.txt has no line for {base}; add it, or remove the image"
                );
                Error::file(files.stock.path(), message)
            })
        })
        .collect()
}
