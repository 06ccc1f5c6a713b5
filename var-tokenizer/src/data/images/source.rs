//! A data set of labelled pictures, wherever it lies.

use std::fmt;
use std::path::Path;

use image::RgbImage;
use sha2::{Digest, Sha256};

use super::blob::Blob;
use super::catalogue::catalogue;
use super::decode::{Decoded, Pixels};
use super::names::few;
use super::split::{Partition, Split, partition};
use super::stock::Stock;
use super::{archives, cifar, emoji, folder, foreign, npz, tarball};
use crate::runtime::error::{Error, Result};
use crate::runtime::files::hexadecimal;

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
    /// A sentence for each thing that was skipped or decided.
    pub(crate) notes: Vec<String>,
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
    /// - Tiny ImageNet's folder, with its table of held-out classes,
    /// - a folder with `train.tar` and `val.tar` (or `test.tar`), with a tar per class, or with shards of WebDataset,
    /// - a tar or tar.gz of any of these,
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

    /// A sentence for each thing that was skipped or decided when the source was opened: hidden entries, pipes, classes
    /// without pictures. To be said once.
    pub fn notes(&self) -> &[String] {
        &self.listing.notes
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
    foreign::check_plain(path, &metadata)?;
    if !metadata.is_dir() {
        return open_file(path);
    }
    match cifar::open_folder(path)? {
        Some(listing) => Ok(listing),
        None => Listing::of_stock(folder::read(path)?, None),
    }
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
    if !tarball::is_tar(&head) {
        return Err(foreign::refusal(path, &head));
    }
    let (stock, _) = tarball::read(&blob)?;
    match cifar::open_tar(&stock)? {
        Some(listing) => Ok(listing),
        None => Listing::of_stock(stock, Some(&blob)),
    }
}

impl Listing {
    /// A listing of the pictures in `stock`, or in the tars that it holds; `whole` is the archive that it is, if any.
    fn of_stock(mut stock: Stock, whole: Option<&Blob>) -> Result<Self> {
        cifar::check_not_pickled(&stock)?;
        let mut notes = Vec::new();
        let tars = archives::tars(&stock);
        if stock.pictures().is_empty() {
            if tars.is_empty() {
                return Err(foreign::no_pictures(&stock));
            }
            stock = archives::open(stock, whole)?;
        } else if !tars.is_empty() {
            let names = tars.iter().filter_map(|&i| stock.names().get(i)).map(String::as_str);
            notes.push(format!(
                "skips tars beside the pictures: {}",
                few(names.collect::<Vec<_>>().into_iter())
            ));
        }
        let catalogue = catalogue(&stock)?;
        notes.extend(catalogue.notes);
        let entries = catalogue
            .items
            .iter()
            .zip(0..)
            .map(|(item, group)| Entry {
                name: stock.names().get(item.position).cloned().unwrap_or_default(),
                class: item.class,
                split: item.split,
                group,
            })
            .collect();
        let positions: Vec<usize> = catalogue.items.iter().map(|item| item.position).collect();
        Ok(Self { entries, classes: catalogue.classes, pictures: stock.access(&positions), notes })
    }
}
