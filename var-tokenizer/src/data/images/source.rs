//! A data set of labelled images in a folder or file.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

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
use super::{archives, cifar, emoji, folder, foreign, npz, parquets, pattern, tarball, text_list};
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
    /// - shards of WebDataset or Parquet files of Hugging Face: one, a folder, or a pattern as `{000..012}.tar`,
    /// - a text file with a path, a tab and a class in each line,
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
        for (index, entry) in self.entries().iter().enumerate() {
            let name = self.name(index);
            // Only the name below the source: a moved folder is the same folder.
            let name = name.strip_prefix(self.label()).unwrap_or(&name);
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

    /// Returns the name of image `index` in the source, for messages; empty when there is no such image.
    pub fn name(&self, index: usize) -> Cow<'_, str> {
        if index < self.len() { self.listing.images.name(index) } else { Cow::default() }
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
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return match path.to_str().filter(|spec| pattern::is_pattern(spec)) {
                Some(spec) => open_pattern(spec),
                None => Err(Error::file(
                    path,
                    "no such file or folder; give a folder of class folders, a tar, shards, Parquet files, a list, an \
                     npz, the binary version of CIFAR, or the word emoji",
                )),
            };
        }
        Err(e) => return Err(Error::io(path, e)),
    };
    foreign::check_plain(path, &metadata)?;
    if !metadata.is_dir() {
        return open_file(path);
    }
    match cifar::open_folder(path)? {
        Some(listing) => Ok(listing),
        None => of_stock(folder::read(path)?, None),
    }
}

/// Opens the files that the pattern `spec` stands for.
fn open_pattern(spec: &str) -> Result<Listing> {
    let root = pattern::folder(spec);
    let mut stock = Stock::new(root);
    let found = pattern::files(spec)?;
    for file in found.files {
        foreign::check_plain(&file, &std::fs::metadata(&file).map_err(|e| Error::io(&file, e))?)?;
        let name = file.strip_prefix(root).unwrap_or(&file).to_string_lossy().into_owned();
        stock.add_file(&name, Some(file));
    }
    let mut listing = of_stock(stock, None)?;
    if !found.folders.is_empty() {
        let names: Vec<String> = found.folders.iter().map(|folder| folder.display().to_string()).collect();
        listing.notes.push(format!(
            "skips {} folders that match, a pattern names files: {}",
            names.len(),
            few(names.iter().map(String::as_str))
        ));
    }
    Ok(listing)
}

/// Opens a file of the kind that its first bytes show.
fn open_file(path: &Path) -> Result<Listing> {
    if text_list::is_list(path) {
        return text_list::open(path);
    }
    let blob = Blob::open(path)?;
    if blob.length() == 0 {
        return Err(Error::file(path, "the file is empty"));
    }
    let head = blob.read(0, blob.length().min(512))?;
    if head.starts_with(b"PK") {
        return npz::open(&blob);
    }
    if head.starts_with(parquets::MAGIC) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        return parquets::open(path, vec![(name.unwrap_or_default(), path.to_owned())]);
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
    let parquets = parquet_files(&stock);
    if !stock.has_images() {
        if !parquets.is_empty() {
            if !tars.is_empty() {
                let message = "holds tars and Parquet files; give one of the two, e.g. FOLDER/*.parquet";
                return Err(Error::file(stock.path(), message));
            }
            let mut listing = parquets::open(stock.path(), parquets)?;
            listing.notes.extend(stock.skipped.sentences());
            return Ok(listing);
        }
        if tars.is_empty() {
            return Err(foreign::no_images(&stock));
        }
        let (inner, more) = archives::open(stock, whole)?;
        stock = inner;
        notes.extend(more);
    } else if !tars.is_empty() {
        let names = tars.iter().map(|&i| stock.names().get(i));
        notes.push(format!("skips tars next to the images: {}", few(names)));
    }
    if !parquets.is_empty() {
        let names = parquets.iter().map(|(name, _)| name.as_str());
        notes.push(format!("skips Parquet files next to the images: {}", few(names)));
    }
    let catalogue = catalogue(&stock)?;
    notes.extend(catalogue.notes);
    let images = stock.access(catalogue.positions);
    Ok(Listing { entries: catalogue.entries, classes: catalogue.classes, images, notes })
}

/// Returns the Parquet files of a folder by name, sorted.
fn parquet_files(stock: &Stock) -> Vec<(String, PathBuf)> {
    if !stock.is_folder() {
        return Vec::new();
    }
    let names = stock.names().iter().enumerate().filter(|(_, name)| parquets::is_parquet(name));
    let mut files: Vec<_> = names.map(|(position, name)| (name.to_owned(), stock.place(position))).collect();
    files.sort_unstable();
    files
}
