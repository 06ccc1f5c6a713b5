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

use super::labels::{self, Class, Files};
use super::names::{few, unread};
use super::split::Split;
use super::stock::Stock;
use crate::runtime::error::{Error, Result};

/// Names of a folder of training images.
const TRAIN: [&str; 2] = ["train", "training"];
/// Names of a folder of held-out images. The first that exists is used.
const HELD_OUT: [&str; 7] = ["val", "valid", "validation", "dev", "test", "testing", "eval"];

/// One image of a catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Position of the file in the stock.
    pub(crate) position: usize,
    /// Index into the class names.
    pub(crate) class: u32,
    /// The part that it belongs to, if the names say so.
    pub(crate) split: Option<Split>,
}

/// Images and classes, both in order of their names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Catalogue {
    /// The images.
    pub(crate) items: Vec<Item>,
    /// The classes.
    pub(crate) classes: Vec<String>,
    /// A sentence per thing that was skipped or decided.
    pub(crate) notes: Vec<String>,
}

/// Returns the part that a folder or archive called `name` holds, by the first word that says so.
pub(crate) fn part_of(name: &str) -> Option<Split> {
    name.split(|c: char| !c.is_alphabetic()).find_map(|word| {
        let is = |names: &[&str]| names.iter().any(|name| word.eq_ignore_ascii_case(name));
        if is(&TRAIN) { Some(Split::Train) } else { is(&HELD_OUT).then_some(Split::Val) }
    })
}

/// Position of an image, and its name below the common folder.
type Named<'a> = (usize, &'a str);
type Labelled = (usize, Class, Option<Split>);

/// Reads the names of `stock`, which holds images.
pub(crate) fn catalogue(stock: &Stock) -> Result<Catalogue> {
    let name = |&i: &usize| stock.names().get(i).map_or("", String::as_str);
    let mut sorted: Vec<Named<'_>> = stock.images().iter().map(|i| (*i, name(i))).collect();
    sorted.sort_by_key(|(_, name)| *name);
    let root = common_folder(sorted.iter().map(|(_, name)| *name));
    for (_, name) in &mut sorted {
        *name = name.get(root.len()..).unwrap_or_default();
    }
    let mut files = Files { stock, root, positions: stock.others(), notes: stock.skipped.sentences() };
    files.notes.extend(unread(stock.names()));
    let labelled = match parts(stock.path(), &sorted)? {
        None => {
            let labelled = files.by_class(&sorted, "")?;
            labelled.into_iter().map(|(i, class)| (i, class, None)).collect()
        }
        Some(parts) => files.by_split(&sorted, &parts)?,
    };
    number(stock.path(), labelled, files.notes)
}

/// Numbers the classes.
fn number(path: &Path, labelled: Vec<Labelled>, notes: Vec<String>) -> Result<Catalogue> {
    let found: BTreeSet<&Class> = labelled.iter().map(|(_, class, _)| class).collect();
    let numbers = found.iter().filter(|class| matches!(class, Class::Number(_))).count();
    if numbers > 0 && numbers < found.len() {
        return Err(Error::file(path, "some classes are numbers and some are names; use one of the two"));
    }
    let (classes, index): (Vec<String>, BTreeMap<&Class, u32>) = if numbers > 0 {
        // A label is the number of its class, even if smaller labels are missing.
        let number = |class: &Class| if let Class::Number(number) = class { *number } else { 0 };
        let last = found.last().map_or(0, |class| number(class));
        (
            (0..=last).map(|n| n.to_string()).collect(),
            found.iter().map(|class| (*class, number(class))).collect(),
        )
    } else {
        (found.iter().map(|class| class.to_string()).collect(), found.iter().copied().zip(0..).collect())
    };
    let items = labelled
        .iter()
        .map(|(position, class, split)| Item {
            position: *position,
            class: index.get(class).copied().unwrap_or(0),
            split: *split,
        })
        .collect();
    Ok(Catalogue { items, classes, notes })
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

/// The folders of a divided data set.
struct Parts {
    train: String,
    held_out: String,
}

/// Returns the folders of the two parts, if both exist.
fn parts(path: &Path, names: &[Named<'_>]) -> Result<Option<Parts>> {
    let folders: BTreeSet<&str> =
        names.iter().filter_map(|(_, name)| Some(name.split_once('/')?.0)).collect();
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
        if folders.len() > 1 && names.iter().any(|(_, name)| inside(name)) {
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
    fn by_class(&mut self, names: &[Named<'_>], part: &str) -> Result<Vec<(usize, Class)>> {
        let path = self.stock.path();
        let loose: Vec<&str> =
            names.iter().map(|(_, name)| *name).filter(|name| !name.contains('/')).collect();
        if self.stock.shards || loose.len() == names.len() {
            if let Some(labels) = labels::beside(self, names, part)? {
                return Ok(labels);
            }
            if self.stock.shards {
                let message = "its shards have no labels: 000.jpg needs 000.cls with a number, or 000.json with the \
                               key label";
                return Err(Error::file(path, message));
            }
            let lone = self.lone();
            return Ok(names.iter().map(|(i, _)| (*i, lone.clone())).collect());
        }
        if let Some(example) = loose.first() {
            let message = format!(
                "{} images are next to the class folders, e.g. {part}{example}; move them into one, or away",
                loose.len()
            );
            return Err(Error::file(path, message));
        }
        let labelled: Vec<(usize, &str)> =
            names.iter().map(|(i, name)| (*i, name.split_once('/').map_or("", |(class, _)| class))).collect();
        let folders: BTreeSet<&str> = labelled.iter().map(|(_, class)| *class).collect();
        self.note_lost(part, &folders);
        self.note_merged(&folders);
        Ok(labelled.into_iter().map(|(i, class)| (i, Class::named(class))).collect())
    }

    /// Notes folders next to the class `folders` of `part` that hold files but no image.
    fn note_lost(&mut self, part: &str, folders: &BTreeSet<&str>) {
        let above = format!("{}{part}", self.root);
        let mut lost: BTreeMap<&str, (usize, &str)> = BTreeMap::new();
        for name in self.stock.names() {
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
    fn by_split(&mut self, names: &[Named<'_>], parts: &Parts) -> Result<Vec<Labelled>> {
        let inside = |folder: &str| -> Vec<Named<'_>> {
            names
                .iter()
                .filter_map(|&(i, name)| {
                    Some((i, name.split_once('/').filter(|(first, _)| *first == folder)?.1))
                })
                .collect()
        };
        let (train, held_out) = (inside(&parts.train), inside(&parts.held_out));
        self.note_others(names, parts);
        let trained = self.by_class(&train, &format!("{}/", parts.train))?;
        let known: BTreeSet<Class> = trained.iter().map(|(_, class)| class.clone()).collect();
        let scored = match self.table_of(&held_out, parts, &known)? {
            Some(scored) => scored,
            None => self.by_class(&held_out, &format!("{}/", parts.held_out))?,
        };
        let unknown: BTreeSet<&Class> =
            scored.iter().map(|(_, class)| class).filter(|c| !known.contains(c)).collect();
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
        let of = |list: Vec<(usize, Class)>, split| {
            list.into_iter().map(move |(i, class)| (i, class, Some(split)))
        };
        Ok(of(trained, Split::Train).chain(of(scored, Split::Val)).collect())
    }

    /// Notes folders with images next to the two parts.
    fn note_others(&mut self, names: &[Named<'_>], parts: &Parts) {
        let mut others: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, name) in names {
            let folder = name.split_once('/').map_or(*name, |(folder, _)| folder);
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
        held_out: &[Named<'_>],
        parts: &Parts,
        known: &BTreeSet<Class>,
    ) -> Result<Option<Vec<(usize, Class)>>> {
        let folders: BTreeSet<&str> =
            held_out.iter().map(|(_, name)| name.split_once('/').map_or("", |(folder, _)| folder)).collect();
        let flat = match folders.iter().copied().collect::<Vec<_>>().as_slice() {
            [""] => {
                *known != BTreeSet::from([self.lone()])
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
