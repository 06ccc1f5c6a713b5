//! Reads classes from files: one next to each image, as in the tars of WebDataset, or one table.
//!
//! The class of `000.jpg` is in `000.cls` (a number), or in `000.json` under one of [`KEYS`] (a number or a name).

use std::collections::{BTreeSet, HashMap};
use std::fmt;

use rayon::prelude::*;
use unicode_normalization::UnicodeNormalization;

use super::below::Below;
use super::stock::Stock;
use crate::runtime::error::{Error, Result};

/// Keys of the class in a JSON file.
const KEYS: [&str; 4] = ["label", "cls", "class", "class_id"];
/// Labels must be smaller: they are class numbers, not identifiers.
const MAX_CLASSES: u64 = 1 << 20;
/// Maximum size of a file with one label, and of a table, in bytes.
const MAX_LABEL: u64 = 1 << 20;
const MAX_TABLE: u64 = 256 << 20;
/// Number of labels that are read together, on all cores.
const AT_ONCE: usize = 4096;

/// A class, by number or by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

    /// Returns the class that `text` tells: its number if it is one, else its name.
    ///
    /// # Errors
    /// When the number is too large.
    pub(crate) fn of_text(text: &str) -> std::result::Result<Self, String> {
        match text.parse() {
            Ok(number) => Self::number(number),
            Err(_) => Ok(Self::named(text)),
        }
    }

    fn number(number: u64) -> std::result::Result<Self, String> {
        let number = u32::try_from(number).ok().filter(|&n| u64::from(n) < MAX_CLASSES);
        number.map(Self::Number).ok_or_else(|| format!("a label is not from 0 to {}", MAX_CLASSES - 1))
    }
}

/// The classes of a list of images, each kept once.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// Place of each image's class in `classes`.
    pub(crate) of: Vec<u32>,
    /// The classes, in the order of their first images.
    pub(crate) classes: Vec<Class>,
    places: HashMap<Class, u32>,
}

impl Labels {
    /// Adds the class of the next image.
    pub(crate) fn push(&mut self, class: Class) {
        let next = self.classes.len() as u32;
        let place = *self.places.entry(class).or_insert_with_key(|class| {
            self.classes.push(class.clone());
            next
        });
        self.of.push(place);
    }

    /// Gives the next `count` images the class `class`.
    pub(crate) fn repeat(&mut self, class: Class, count: usize) {
        if let Some(more) = count.checked_sub(1) {
            self.push(class);
            let place = self.of.last().copied().unwrap_or(0);
            self.of.extend(std::iter::repeat_n(place, more));
        }
    }
}

/// The files of a source while it is catalogued.
pub(crate) struct Files<'a> {
    pub(crate) stock: &'a Stock,
    /// The folder around everything, with the slash.
    pub(crate) root: &'a str,
    /// Positions of all files that are not images, sorted by name.
    pub(crate) others: &'a [u32],
    /// A sentence per thing that was skipped or decided.
    pub(crate) notes: Vec<String>,
}

impl Files<'_> {
    /// Returns the position of the file that is called `name` and is not an image.
    fn find(&self, name: &str) -> Option<usize> {
        let names = self.stock.names();
        let found = self.others.binary_search_by(|&position| names.get(position as usize).cmp(name));
        found.ok().and_then(|place| self.others.get(place)).map(|&position| position as usize)
    }
}

/// Returns the classes of images from the files next to them, or `None` when no image has such a file. Notes under which
/// keys they are in JSON files.
///
/// # Errors
/// When only some images have such a file, or a file is damaged.
pub(crate) fn beside(files: &mut Files<'_>, names: Below<'_>) -> Result<Option<Labels>> {
    let whole: Vec<&str> = names.whole().collect();
    let (mut labels, mut without, mut keys) = (Labels::default(), Vec::new(), BTreeSet::new());
    for some in whole.chunks(AT_ONCE) {
        let found: Vec<Result<Option<Found>>> = some.par_iter().map(|name| label(files, name)).collect();
        for (found, name) in found.into_iter().zip(some) {
            match found? {
                Some((class, key)) => {
                    labels.push(class);
                    keys.extend(key);
                }
                None => without.push(*name),
            }
        }
    }
    if !keys.is_empty() {
        let keys = keys.into_iter().collect::<Vec<_>>().join(", ");
        let note = format!("takes classes from .json files, from the key {keys}");
        if !files.notes.contains(&note) {
            files.notes.push(note);
        }
    }
    match without.first() {
        None => Ok(Some(labels)),
        Some(_) if labels.of.is_empty() => Ok(None),
        Some(example) => {
            let message = format!(
                "{} images have a label next to them (.cls or .json), {} have none, e.g. {example}",
                labels.of.len(),
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

/// A class, and the key under which it is in a JSON file.
type Found = (Class, Option<&'static str>);

/// Returns the class of the image with the whole name `name`, from the file next to it.
fn label(files: &Files<'_>, name: &str) -> Result<Option<Found>> {
    let (folder, base) = name.rsplit_once('/').map_or(("", name), |(folder, base)| (folder, base));
    // The key in WebDataset is the name before the first dot.
    let key = base.split_once('.').map_or(base, |(key, _)| key);
    let slash = if folder.is_empty() { "" } else { "/" };
    for (ending, parse) in [("cls", of_text as fn(&str) -> _), ("json", of_json)] {
        let beside = format!("{folder}{slash}{key}.{ending}");
        let Some(position) = files.find(&beside) else { continue };
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

fn of_text(text: &str) -> std::result::Result<Option<Found>, String> {
    let number = text.parse().map_err(|_| format!("expected a class number, found '{}'", start(text)))?;
    Class::number(number).map(|class| Some((class, None)))
}

/// Returns the class in a JSON object, or `None` when all keys are missing.
fn of_json(text: &str) -> std::result::Result<Option<Found>, String> {
    let value: serde_json::Value = serde_json::from_str(text).map_err(|e| format!("damaged JSON: {e}"))?;
    let Some((key, value)) = KEYS.iter().find_map(|key| Some((key, value.get(key)?))) else {
        return Ok(None);
    };
    match (value.as_u64(), value.as_str()) {
        (Some(number), _) => Class::number(number).map(|class| Some((class, Some(*key)))),
        (_, Some(name)) => Ok(Some((Class::named(name), Some(*key)))),
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
    let Some(position) = files.find(&name) else { return Ok(None) };
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
    names: Below<'_>,
    part: &str,
    table: &HashMap<String, Class>,
) -> Result<Labels> {
    let mut labels = Labels::default();
    for name in names.iter() {
        let base = name.rsplit('/').next().unwrap_or(name);
        let class = table.get(base).cloned().ok_or_else(|| {
            let message =
                format!("{part}/{part}_annotations.txt has no line for {base}; add it, or remove the image");
            Error::file(files.stock.path(), message)
        })?;
        labels.push(class);
    }
    Ok(labels)
}
