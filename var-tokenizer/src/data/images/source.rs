//! A data set of labelled images in a folder or file.

use std::path::Path;

use image::RgbImage;
use sha2::{Digest, Sha256};

use super::blob::Blob;
use super::catalogue::catalogue;
use super::decode::{Decoded, Pixels};
use super::emoji::EMOJI;
use super::listing::{Entry, Listing};
use super::names::few;
use super::partition::partition;
use super::split::Partition;
use super::stock::Stock;
use super::{archives, cifar, emoji, folder, foreign, npz, tarball};
use crate::runtime::error::{Error, Result};
use crate::runtime::files::hexadecimal;

/// A data set of labelled images.
///
/// Opening reads names and labels. [`Self::load`] reads and decodes an image.
#[derive(Debug)]
pub struct Source {
    label: String,
    listing: Listing,
}

impl Source {
    /// Opens `spec`: the word `emoji`, or the path of
    ///
    /// - a folder of class folders, or of `train/` and `val/` with class folders,
    /// - the folder of Tiny ImageNet, with its table of held-out classes,
    /// - a folder with `train.tar` and `val.tar` (or `test.tar`), with a tar per class, or with shards of WebDataset,
    /// - a tar or tar.gz of any of these,
    /// - an npz with `arr_0` u8 `[N, H, W, 3]` and labels in `labels` or `arr_1`,
    /// - the binary version of CIFAR, packed or not.
    ///
    /// # Errors
    /// When the source is missing, holds no images, is truncated, or has unclear classes.
    pub fn open(spec: impl AsRef<Path>) -> Result<Self> {
        let path = spec.as_ref();
        let label = path.display().to_string();
        let listing = if path == Path::new(EMOJI) { emoji::open()? } else { open_path(path)? };
        if u32::try_from(listing.entries.len()).is_err() {
            return Err(Error::file(path, "holds more than 2³² images"));
        }
        Ok(Self { label, listing })
    }

    /// Returns the hexadecimal SHA-256 over the names and classes of all images in their order. It does not depend on
    /// the place of the source.
    pub fn fingerprint(&self) -> String {
        let mut sum = Sha256::new();
        for class in self.classes() {
            sum.update(class.as_bytes());
            sum.update([0]);
        }
        for entry in self.entries() {
            // Only the name below the source: a moved folder is the same folder.
            let name = entry.name.strip_prefix(self.label()).unwrap_or(&entry.name);
            sum.update(name.as_bytes());
            sum.update([0]);
            sum.update(entry.class.to_le_bytes());
        }
        hexadecimal(&sum.finalize())
    }

    /// Returns a sentence per thing that was skipped or decided when the source was opened: hidden entries, pipes,
    /// folders without images. A program prints them once.
    pub fn notes(&self) -> &[String] {
        &self.listing.notes
    }

    /// Returns the name under which the source was opened.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns the images, always in the same order.
    pub fn entries(&self) -> &[Entry] {
        &self.listing.entries
    }

    /// Returns the class names: sorted for folders and tars, in the order of the data set for CIFAR.
    pub fn classes(&self) -> &[String] {
        &self.listing.classes
    }

    /// Returns the number of images.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Returns whether the source is empty. A source that opened never is.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Reads image `index` in 8-bit RGB, upright, on white.
    ///
    /// # Errors
    /// When the image cannot be read or decoded, or `index` is out of range.
    pub fn load(&self, index: usize) -> Result<RgbImage> {
        Ok(self.load_pixels(index, Pixels::Shown)?.image)
    }

    /// Reads image `index` in 8-bit RGB, as `pixels` says.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub fn load_pixels(&self, index: usize, pixels: Pixels) -> Result<Decoded> {
        if index >= self.len() {
            return Err(Error::file(&self.label, format!("no image {index}; there are {}", self.len())));
        }
        self.listing.images.image(index, pixels)
    }

    /// Divides the images into training and held-out ones: as the source says, or else by holding out `fraction` of
    /// each class, drawn by `seed`. All skin tones of an emoji are in one part.
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
            "no such file or folder; give a folder of class folders, a tar, an npz, the binary version of CIFAR, \
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
        None => of_stock(folder::read(path)?, None),
    }
}

/// Opens a file of the kind that its first bytes show.
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
        None => of_stock(stock, Some(&blob)),
    }
}

/// Lists the images in `stock`, or in the tars that it holds. `whole` is the archive around the stock, if any.
fn of_stock(mut stock: Stock, whole: Option<&Blob>) -> Result<Listing> {
    cifar::check_not_pickled(&stock)?;
    let mut notes = Vec::new();
    let tars = archives::tars(&stock);
    if stock.images().is_empty() {
        if tars.is_empty() {
            return Err(foreign::no_images(&stock));
        }
        stock = archives::open(stock, whole)?;
    } else if !tars.is_empty() {
        let names = tars.iter().filter_map(|&i| stock.names().get(i)).map(String::as_str);
        notes.push(format!("skips tars next to the images: {}", few(names.collect::<Vec<_>>().into_iter())));
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
    Ok(Listing { entries, classes: catalogue.classes, images: stock.access(&positions), notes })
}
