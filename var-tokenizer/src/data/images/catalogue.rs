//! Reads classes and parts from file names: class folders, and `train/` next to `val/`.
//!
//! Folders and archives follow the same rules:
//!
//! - `CLASS/…/image`: the first folder is the class. Deeper folders are ignored.
//! - `train/CLASS/…` next to `val/CLASS/…` (see [`TRAIN`] and [`HELD_OUT`], in any case): the data set's own parts.
//! - `image` without a folder: its class is in a file next to it ([`super::labels`]), or all images have one class.
//! - A folder around everything is ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::below::Below;
use super::labels::{self, Class, Files, Labels};
use super::listing::Entry;
use super::names::{few, unread};
use super::split::Split;
use super::stock::Stock;
use crate::runtime::error::{Error, Result};

/// Names of a folder of training images.
pub(crate) const TRAIN: [&str; 2] = ["train", "training"];
/// Names of a folder of held-out images. The first that exists is used.
pub(crate) const HELD_OUT: [&str; 7] = ["val", "valid", "validation", "dev", "test", "testing", "eval"];

/// Images and classes, both in order of their names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Catalogue {
    /// Position of each image's file in the stock.
    pub(crate) positions: Vec<u32>,
    /// The images.
    pub(crate) entries: Vec<Entry>,
    /// The classes.
    pub(crate) classes: Vec<String>,
    /// A sentence per thing that was skipped or decided.
    pub(crate) notes: Vec<String>,
}

/// The images of a part, and their classes.
type Labelled<'a> = (Below<'a>, Labels, Option<Split>);

/// Reads the names of `stock`, which holds images.
pub(crate) fn catalogue(stock: &Stock) -> Result<Catalogue> {
    let (images, others) = stock.sorted();
    let root = common_folder(Below::new(stock.names(), &images, 0).whole());
    let names = Below::new(stock.names(), &images, root.len());
    let mut files = Files { stock, root, others: &others, notes: stock.skipped.sentences() };
    files.notes.extend(unread(Below::new(stock.names(), &others, 0).whole()));
    let labelled = match parts(stock.path(), names)? {
        None => vec![(names, files.by_class(names, "")?, None)],
        Some(parts) => files.by_split(names, &parts)?,
    };
    number(stock.path(), &labelled, files.notes)
}

/// Numbers the classes.
fn number(path: &Path, labelled: &[Labelled<'_>], notes: Vec<String>) -> Result<Catalogue> {
    let found: BTreeSet<&Class> = labelled.iter().flat_map(|(_, labels, _)| &labels.classes).collect();
    let (classes, index) = numbered(&found).map_err(|reason| Error::file(path, reason))?;
    let count = labelled.iter().map(|(names, ..)| names.len()).sum();
    let (mut positions, mut entries) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (names, labels, split) in labelled {
        let of: Vec<u32> =
            labels.classes.iter().map(|class| index.get(class).copied().unwrap_or(0)).collect();
        positions.extend_from_slice(names.positions());
        for &place in &labels.of {
            let class = of.get(place as usize).copied().unwrap_or(0);
            entries.push(Entry { class, split: *split, group: entries.len() as u32 });
        }
    }
    Ok(Catalogue { positions, entries, classes, notes })
}

/// Returns the names of all classes, and the number of each class that was `found`.
///
/// # Errors
/// When some are numbers and some are names.
pub(crate) fn numbered<'a>(
    found: &BTreeSet<&'a Class>,
) -> std::result::Result<(Vec<String>, BTreeMap<&'a Class, u32>), String> {
    let numbers = found.iter().filter(|class| matches!(class, Class::Number(_))).count();
    if numbers > 0 && numbers < found.len() {
        return Err("some classes are numbers and some are names; use one of the two".into());
    }
    if numbers == 0 {
        let classes = found.iter().map(|class| class.to_string()).collect();
        return Ok((classes, found.iter().copied().zip(0..).collect()));
    }
    // A label is the number of its class, even if smaller labels are missing.
    let number = |class: &Class| if let Class::Number(number) = class { *number } else { 0 };
    let last = found.last().map_or(0, |class| number(class));
    let index = found.iter().map(|class| (*class, number(class))).collect();
    Ok(((0..=last).map(|n| n.to_string()).collect(), index))
}

/// Returns the folders that all names share, with a slash. A level that may be a class stays below them.
pub(crate) fn common_folder<'a>(mut names: impl Iterator<Item = &'a str>) -> &'a str {
    // One level stays above each image: it may be a class.
    let around = |name: &'a str| {
        let class = name.rsplit_once('/').map_or("", |(class, _)| class);
        class.rfind('/').and_then(|slash| class.get(..=slash)).unwrap_or("")
    };
    let mut common = names.next().map_or("", around);
    for name in names {
        while !around(name).starts_with(common) {
            let above = common.trim_end_matches('/').rfind('/');
            common = above.and_then(|slash| common.get(..=slash)).unwrap_or("");
        }
    }
    common
}

/// Returns the different ones of `folders`, most of which follow their like.
fn distinct<'a>(folders: impl Iterator<Item = &'a str>) -> BTreeSet<&'a str> {
    let mut last = None;
    folders.filter(|folder| last.replace(*folder) != Some(*folder)).collect()
}

/// The folders of a divided data set.
struct Parts {
    train: String,
    held_out: String,
}

/// Returns the folders of the two parts, if both exist.
fn parts(path: &Path, names: Below<'_>) -> Result<Option<Parts>> {
    let folders = distinct(names.folders().flatten());
    let called = |known: &str| -> Result<Option<String>> {
        let found: Vec<&str> = folders.iter().copied().filter(|f| f.eq_ignore_ascii_case(known)).collect();
        match *found.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.to_owned())),
            _ => Err(Error::file(path, format!("has the folders {}; keep one of them", found.join(" and ")))),
        }
    };
    let first = |known: &[&str]| -> Result<Option<String>> {
        known.iter().find_map(|name| called(name).transpose()).transpose()
    };
    let (train, held_out) = (first(&TRAIN)?, first(&HELD_OUT)?);
    if let (Some(one), None) | (None, Some(one)) = (&train, &held_out) {
        // A part has class folders; a class of the same name does not.
        let inside =
            |name: &str| name.split_once('/').is_some_and(|(first, rest)| first == one && rest.contains('/'));
        if folders.len() > 1 && names.iter().any(inside) {
            let others = folders.iter().copied().filter(|folder| folder != one);
            let message = format!(
                "{one} looks like one part of a divided data set, but next to it are {}. Call the two parts train and \
                 val, or give only {}/{one}",
                few(others.collect::<Vec<_>>().into_iter()),
                path.display()
            );
            return Err(Error::file(path, message));
        }
    }
    Ok(train.zip(held_out).map(|(train, held_out)| Parts { train, held_out }))
}

impl Files<'_> {
    /// Returns the class of all images when nothing tells their classes.
    fn lone(&self) -> Class {
        let stem = self.stock.path().file_stem().map(|stem| stem.to_string_lossy().into_owned());
        Class::named(stem.as_deref().unwrap_or("all"))
    }

    /// Returns the class of each image of a part, in the folder `part` (empty, or with a slash).
    fn by_class(&mut self, names: Below<'_>, part: &str) -> Result<Labels> {
        let path = self.stock.path();
        let loose = names.folders().filter(Option::is_none).count();
        if self.stock.shards || loose == names.len() {
            if let Some(labels) = labels::beside(self, names)? {
                return Ok(labels);
            }
            if self.stock.shards {
                let message = "its shards have no labels: 000.jpg needs 000.cls with a number, or 000.json with the \
                               key label";
                return Err(Error::file(path, message));
            }
            let mut labels = Labels::default();
            labels.repeat(self.lone(), names.len());
            return Ok(labels);
        }
        if let Some(example) = names.iter().find(|name| !name.contains('/')) {
            let message = format!(
                "{loose} images are next to the class folders, e.g. {part}{example}; move them into one, or away"
            );
            return Err(Error::file(path, message));
        }
        let folders = distinct(names.folders().flatten());
        self.note_lost(part, &folders);
        self.note_merged(&folders);
        let mut labels = Labels::default();
        let mut rest = names.folders().flatten().peekable();
        while let Some(folder) = rest.next() {
            let mut count = 1;
            while rest.next_if_eq(&folder).is_some() {
                count += 1;
            }
            labels.repeat(Class::named(folder), count);
        }
        Ok(labels)
    }

    /// Notes folders next to the class `folders` of `part` that hold files but no image.
    fn note_lost(&mut self, part: &str, folders: &BTreeSet<&str>) {
        let above = format!("{}{part}", self.root);
        let mut lost: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        // Folders that hold images are no loss, so only other files matter.
        for name in Below::new(self.stock.names(), self.others, 0).whole() {
            let Some((folder, _)) = name.strip_prefix(&above).and_then(|rest| rest.split_once('/')) else {
                continue;
            };
            // Folders next to `train` and `val` have a note of their own.
            if !folders.contains(folder) {
                let (count, example) = lost.entry(folder).or_insert((0, name));
                (*count, *example) = (*count + 1, (*example).min(name));
            }
        }
        for (folder, (count, example)) in lost {
            self.notes.push(format!(
                "skips folder {part}{folder}: none of its {count} files has the ending of an image, e.g. {example}"
            ));
        }
    }

    /// Notes classes that several spellings of a folder name share.
    fn note_merged(&mut self, folders: &BTreeSet<&str>) {
        let mut spellings: BTreeMap<Class, usize> = BTreeMap::new();
        for folder in folders {
            *spellings.entry(Class::named(folder)).or_default() += 1;
        }
        for (class, count) in spellings.into_iter().filter(|(_, count)| *count > 1) {
            self.notes.push(format!(
                "{count} folders are called {class}, in different Unicode encodings; they are one class"
            ));
        }
    }

    /// Returns the images of both parts.
    fn by_split<'n>(&mut self, names: Below<'n>, parts: &Parts) -> Result<Vec<Labelled<'n>>> {
        let (train, held_out) = (names.part(&parts.train), names.part(&parts.held_out));
        self.note_others(names, parts);
        let trained = self.by_class(train, &format!("{}/", parts.train))?;
        let known: BTreeSet<&Class> = trained.classes.iter().collect();
        let scored = match self.table_of(held_out, parts, &known)? {
            Some(scored) => scored,
            None => self.by_class(held_out, &format!("{}/", parts.held_out))?,
        };
        let unknown: BTreeSet<&Class> = scored.classes.iter().filter(|c| !known.contains(c)).collect();
        if !unknown.is_empty() {
            let unknown: Vec<String> = unknown.iter().map(|class| format!("'{class}'")).collect();
            let message = format!(
                "{} has classes that {} lacks: {}. Both need the same class folders",
                parts.held_out,
                parts.train,
                few(unknown.iter().map(String::as_str))
            );
            return Err(Error::file(self.stock.path(), message));
        }
        Ok(vec![(train, trained, Some(Split::Train)), (held_out, scored, Some(Split::Val))])
    }

    /// Notes folders with images next to the two parts.
    fn note_others(&mut self, names: Below<'_>, parts: &Parts) {
        let mut others: BTreeMap<&str, usize> = BTreeMap::new();
        for (folder, name) in names.folders().zip(names.iter()) {
            let folder = folder.unwrap_or(name);
            if folder != parts.train && folder != parts.held_out {
                *others.entry(folder).or_default() += 1;
            }
        }
        if others.is_empty() {
            return;
        }
        let count: usize = others.values().sum();
        let (train, held_out) = (&parts.train, &parts.held_out);
        let others = few(others.keys().copied());
        self.notes.push(format!("skips {count} images next to {train} and {held_out}: in {others}"));
    }

    /// Returns the classes of held-out images that have no class folders although the training images have some, by the
    /// table of Tiny ImageNet (`val_annotations.txt`). `None` when they have class folders too.
    ///
    /// # Errors
    /// When the table is missing, or an image is not in it.
    fn table_of(
        &self,
        held_out: Below<'_>,
        parts: &Parts,
        known: &BTreeSet<&Class>,
    ) -> Result<Option<Labels>> {
        let folders = distinct(held_out.folders().map(Option::unwrap_or_default));
        let flat = match folders.iter().copied().collect::<Vec<_>>().as_slice() {
            [""] => {
                *known != BTreeSet::from([&self.lone()])
                    && !known.iter().any(|c| matches!(c, Class::Number(_)))
            }
            ["images"] => !known.contains(&Class::named("images")),
            _ => false,
        };
        if !flat {
            return Ok(None);
        }
        let part = &parts.held_out;
        if let Some(table) = labels::table(self, part)? {
            return labels::by_table(self, held_out, part, &table).map(Some);
        }
        let message = format!(
            "the {} images in {part} have no class folders, so their classes are unknown. Move them into \
             {part}/CLASS/ with the classes of {train}, add {part}/{part}_annotations.txt (a line per image: name, \
             tab, class), or give only {path}/{train}: a part of each class is then held out",
            held_out.len(),
            train = parts.train,
            path = self.stock.path().display()
        );
        Err(Error::file(self.stock.path(), message))
    }
}
