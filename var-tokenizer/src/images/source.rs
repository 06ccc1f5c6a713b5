//! A data set of labelled pictures, wherever it lies.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use image::RgbImage;
use sha2::{Digest, Sha256};

use super::blob::Blob;
use super::catalogue::{HELD_OUT, check_held_out_classes};
use super::decode::{Decoded, Pixels};
use super::split::{Partition, Split, partition};
use super::{cifar, emoji, folder, npz, tarball};
use crate::error::{Error, Result};
use crate::files::hexadecimal;

/// The word for the pictures that come with this crate.
pub const EMOJI: &str = "emoji";

/// What is known of a picture without decoding it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it lies in its source, for messages.
    pub name: String,
    /// Index into the source's class names.
    pub class: u32,
    /// The part it belongs to, if the source says.
    pub split: Option<Split>,
    /// Pictures of one group are trained on together or held out together.
    pub group: u32,
}

/// Access to the pictures of a source, by index, from any thread.
pub(crate) trait Pictures: fmt::Debug + Send + Sync {
    /// Decodes picture `index`. How pixels are read is a matter of picture files; those of arrays are as they are.
    fn picture(&self, index: usize, pixels: Pixels) -> Result<Decoded>;
}

/// What each kind of source makes of its files.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The pictures, in the source's order.
    pub(crate) entries: Vec<Entry>,
    /// The class names, in the source's order.
    pub(crate) classes: Vec<String>,
    /// Access to the pictures.
    pub(crate) pictures: Box<dyn Pictures>,
}

/// A data set of labelled pictures.
///
/// Opening reads names and labels; pictures are read and decoded when asked for.
#[derive(Debug)]
pub struct Source {
    label: String,
    listing: Listing,
}

impl Source {
    /// Opens `spec`: the word `emoji`, or the path of
    ///
    /// - a folder of class folders, with `train/` and `val/` above them or not,
    /// - a folder with `train.tar` and `val.tar` (or `test.tar`),
    /// - a tar or tar.gz of such folders,
    /// - an npz with `arr_0` u8 `[N, H, W, 3]` and labels in `labels` or `arr_1`,
    /// - CIFAR's binary version, packed or not.
    ///
    /// # Errors
    /// When there is no such source, it holds no pictures, it is truncated, or its classes are unclear.
    pub fn open(spec: impl AsRef<Path>) -> Result<Self> {
        let path = spec.as_ref();
        let label = path.display().to_string();
        let listing = if path == Path::new(EMOJI) { emoji::open()? } else { open_path(path)? };
        if u32::try_from(listing.entries.len()).is_err() {
            return Err(Error::file(path, "holds more than 2³² pictures"));
        }
        Ok(Self { label, listing })
    }

    /// SHA-256, in hexadecimal, over the names and classes of all pictures in their order: the same for
    /// the same list, wherever it lies.
    pub fn fingerprint(&self) -> String {
        let mut sum = Sha256::new();
        for class in self.classes() {
            sum.update(class.as_bytes());
            sum.update([0]);
        }
        for entry in self.entries() {
            // Only what lies below the source: a moved folder is the same folder.
            let name = entry.name.strip_prefix(self.label()).unwrap_or(&entry.name);
            sum.update(name.as_bytes());
            sum.update([0]);
            sum.update(entry.class.to_le_bytes());
        }
        hexadecimal(&sum.finalize())
    }

    /// What was opened, as it was asked for.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The pictures, in an order that is the same every time.
    pub fn entries(&self) -> &[Entry] {
        &self.listing.entries
    }

    /// The class names: sorted for folders and tars, the data set's own order for CIFAR.
    pub fn classes(&self) -> &[String] {
        &self.listing.classes
    }

    /// Number of pictures.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether there are no pictures; never, for a source that opened.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Picture `index` in 8-bit RGB, upright, on white.
    ///
    /// # Errors
    /// When it cannot be read or decoded, or there is no such picture.
    pub fn load(&self, index: usize) -> Result<RgbImage> {
        Ok(self.load_pixels(index, Pixels::Shown)?.picture)
    }

    /// Picture `index` in 8-bit RGB, read as `pixels` says.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn load_pixels(&self, index: usize, pixels: Pixels) -> Result<Decoded> {
        if index >= self.len() {
            return Err(Error::file(&self.label, format!("no picture {index}: there are {}", self.len())));
        }
        self.listing.pictures.picture(index, pixels)
    }

    /// Which pictures are trained on and which held out: as the source says, or else `fraction` of each
    /// class, drawn by `seed`, skin tones of one emoji together.
    ///
    /// # Errors
    /// When `fraction` is not from 0 to 0.9.
    pub fn partition(&self, fraction: f64, seed: u64) -> Result<Partition> {
        partition(self.entries(), fraction, seed)
    }
}

fn open_path(path: &Path) -> Result<Listing> {
    let metadata = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::file(
            path,
            "no such file or folder; give a folder of class folders, a tar, an npz, CIFAR's binary version, \
             or the word emoji",
        ),
        _ => Error::io(path, e),
    })?;
    if !metadata.is_dir() {
        return open_file(path);
    }
    if let Some(listing) = cifar::open_folder(path)? {
        return Ok(listing);
    }
    if let Some((train, held_out)) = pair_of_tars(path) {
        return merge(path, open_file(&train)?, open_file(&held_out)?);
    }
    folder::open(path)
}

/// Opens a file by what its first bytes say.
fn open_file(path: &Path) -> Result<Listing> {
    let blob = Blob::open(path)?;
    if blob.length() == 0 {
        return Err(Error::file(path, "the file is empty"));
    }
    let head = blob.read(0, blob.length().min(512))?;
    if head.starts_with(b"PK") {
        return npz::open(&blob);
    }
    let named_tar = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tar"));
    if head.get(257..262) == Some(b"ustar".as_slice()) || named_tar {
        return tarball::open(&blob);
    }
    Err(Error::file(
        path,
        "neither a folder nor a tar, tar.gz or npz file; a single picture needs a folder around it",
    ))
}

/// `train.tar` and `val.tar` in a folder, under the names that are understood.
fn pair_of_tars(folder: &Path) -> Option<(PathBuf, PathBuf)> {
    let find = |stem: &str| {
        ["tar", "tar.gz", "tgz"]
            .into_iter()
            .map(|end| folder.join(format!("{stem}.{end}")))
            .find(|p| p.is_file())
    };
    Some((find("train")?, HELD_OUT.into_iter().find_map(find)?))
}

/// Pictures to train on and pictures held out that lie in files of their own.
#[derive(Debug)]
struct Pair {
    first: Box<dyn Pictures>,
    count: usize,
    second: Box<dyn Pictures>,
}

impl Pictures for Pair {
    fn picture(&self, index: usize, pixels: Pixels) -> Result<Decoded> {
        match index.checked_sub(self.count) {
            None => self.first.picture(index, pixels),
            Some(index) => self.second.picture(index, pixels),
        }
    }
}

fn merge(path: &Path, train: Listing, held_out: Listing) -> Result<Listing> {
    let numbers: BTreeMap<&str, u32> = train.classes.iter().map(String::as_str).zip(0..).collect();
    // Two tars of loose pictures have one class each, named after the tars: they are the same class.
    let lone = train.classes.len() == 1 && held_out.classes.len() == 1;
    if !lone {
        let known: BTreeSet<&str> = numbers.keys().copied().collect();
        let found = held_out.classes.iter().map(String::as_str);
        check_held_out_classes(path, "the held-out tar", &known, found)?;
    }
    let count = train.entries.len();
    let classes_of_held_out = held_out.classes;
    let second = held_out.entries.into_iter().map(|entry| {
        let name = classes_of_held_out.get(entry.class as usize).map_or("", String::as_str);
        let class = numbers.get(name).copied().unwrap_or(0);
        Entry { class, split: Some(Split::Val), ..entry }
    });
    let mut entries: Vec<Entry> = train
        .entries
        .into_iter()
        .map(|entry| Entry { split: Some(Split::Train), ..entry })
        .chain(second)
        .collect();
    for (group, entry) in (0..).zip(&mut entries) {
        entry.group = group;
    }
    Ok(Listing {
        entries,
        classes: train.classes,
        pictures: Box::new(Pair { first: train.pictures, count, second: held_out.pictures }),
    })
}

impl Listing {
    /// A listing of catalogued names, whose pictures `pictures` hands out in the catalogue's order.
    pub(crate) fn of_catalogue(
        items: &[super::catalogue::Item],
        classes: Vec<String>,
        names: &[String],
        pictures: Box<dyn Pictures>,
    ) -> Self {
        let entries = items
            .iter()
            .zip(0..)
            .map(|(item, group)| Entry {
                name: names.get(item.position).cloned().unwrap_or_default(),
                class: item.class,
                split: item.split,
                group,
            })
            .collect();
        Self { entries, classes, pictures }
    }
}
