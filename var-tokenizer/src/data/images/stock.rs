//! The files of a folder or archive.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::blob::Blob;
use super::decode::{Decoded, MAX_FILE, Pixels, decode_pixels, is_image_name, read_pixels};
use super::listing::Images;
use super::names::{Skipped, hidden_part};
use crate::runtime::error::{Error, Result};

/// Place of the bytes of a file.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// In a file of its own.
    File(PathBuf),
    /// In an archive.
    Part {
        /// Which of the stock's archives.
        archive: u32,
        /// Where the bytes begin.
        offset: u64,
        /// How many there are.
        size: u64,
    },
}

/// Files by name (`/` between folders), without hidden files, pipes and devices.
#[derive(Debug)]
pub(crate) struct Stock {
    /// The folder or archive.
    path: PathBuf,
    names: Vec<String>,
    places: Vec<Place>,
    archives: Vec<Blob>,
    /// Skipped entries.
    pub(crate) skipped: Skipped,
    /// Whether the class of each image is in a file next to it, never in the name of a folder.
    pub(crate) shards: bool,
}

impl Stock {
    /// Makes an empty stock for the folder or archive at `path`.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            names: Vec::new(),
            places: Vec::new(),
            archives: Vec::new(),
            skipped: Skipped::default(),
            shards: false,
        }
    }

    /// Adds an archive, and returns its number.
    pub(crate) fn add_archive(&mut self, blob: Blob) -> u32 {
        self.archives.push(blob);
        self.archives.len() as u32 - 1
    }

    /// Adds a file. Of a hidden file it adds the topmost hidden part of the name to the skipped entries.
    pub(crate) fn add(&mut self, name: String, place: Place) {
        if let Some(hidden) = hidden_part(&name) {
            self.skipped.hidden.insert(hidden.to_owned());
            return;
        }
        self.names.push(name);
        self.places.push(place);
    }

    /// Takes the archive of `other`, a stock of one archive, and returns its files with their new places.
    pub(crate) fn take_archive(&mut self, other: Self) -> Vec<(String, Place)> {
        let first = self.archives.len() as u32;
        self.archives.extend(other.archives);
        let moved = other.names.into_iter().zip(other.places).map(|(name, place)| {
            let place = match place {
                Place::Part { archive, offset, size } => {
                    Place::Part { archive: first + archive, offset, size }
                }
                file => file,
            };
            (name, place)
        });
        moved.collect()
    }

    /// The folder or archive.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of all files.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// Returns the positions of all files with the ending of an image.
    pub(crate) fn images(&self) -> Vec<usize> {
        (0..self.names.len()).filter(|&i| self.names.get(i).is_some_and(|name| is_image_name(name))).collect()
    }

    /// Returns the positions of all other files, by name.
    pub(crate) fn others(&self) -> HashMap<&str, usize> {
        let names = self.names.iter().map(String::as_str).zip(0..);
        names.filter(|(name, _)| !is_image_name(name)).collect()
    }

    /// Reads file `position`, if it has at most `most` bytes.
    pub(crate) fn read(&self, position: usize, most: u64) -> Result<Vec<u8>> {
        let path = self.shown(position);
        let too_large = |size: u64| {
            let message = format!("{size} bytes: larger than the limit of {most} bytes");
            if size > most { Err(Error::file(&path, message)) } else { Ok(()) }
        };
        match self.places.get(position) {
            Some(Place::File(path)) => {
                too_large(std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len())?;
                std::fs::read(path).map_err(|e| Error::io(path, e))
            }
            Some(&Place::Part { offset, size, .. }) => {
                too_large(size)?;
                self.archive(position)?.read(offset, size)
            }
            None => Err(Error::Config(format!("no file {position}"))),
        }
    }

    /// Reads the first bytes of file `position`.
    pub(crate) fn head(&self, position: usize) -> Result<Vec<u8>> {
        let blob = match self.places.get(position) {
            Some(Place::File(path)) => Blob::plain(path)?,
            _ => self.blob(position)?,
        };
        blob.read(0, blob.length().min(512))
    }

    /// Opens file `position` as an archive.
    pub(crate) fn blob(&self, position: usize) -> Result<Blob> {
        match self.places.get(position) {
            Some(Place::File(path)) => Blob::open(path),
            Some(&Place::Part { offset, size, .. }) => self.archive(position)?.slice(offset, size),
            None => Err(Error::Config(format!("no file {position}"))),
        }
    }

    /// Returns the path of file `position` for messages.
    fn shown(&self, position: usize) -> PathBuf {
        match self.places.get(position) {
            Some(Place::File(path)) => path.clone(),
            _ => self.path.join(self.names.get(position).map_or("", String::as_str)),
        }
    }

    fn archive(&self, position: usize) -> Result<&Blob> {
        let archive = match self.places.get(position) {
            Some(Place::Part { archive, .. }) => self.archives.get(*archive as usize),
            _ => None,
        };
        archive.ok_or_else(|| Error::Config(format!("no file {position}")))
    }

    /// Gives access to the images at `positions`, in that order.
    pub(crate) fn access(mut self, positions: &[usize]) -> Box<dyn Images> {
        let names = positions.iter().map(|&i| self.names.get(i).cloned().unwrap_or_default()).collect();
        let places = positions.iter().filter_map(|&i| self.places.get(i).cloned()).collect();
        (self.names, self.places) = (names, places);
        Box::new(self)
    }
}

impl Images for Stock {
    fn image(&self, index: usize, pixels: Pixels) -> Result<Decoded> {
        match self.places.get(index) {
            Some(Place::File(path)) => read_pixels(path, pixels),
            Some(&Place::Part { offset, size, .. }) => {
                let path = self.shown(index);
                if size > MAX_FILE {
                    return Err(Error::file(path, format!("{size} bytes: too large for an image file")));
                }
                let bytes = self.archive(index)?.read(offset, size)?;
                decode_pixels(&bytes, pixels).map_err(|reason| Error::file(path, reason))
            }
            None => Err(Error::Config(format!("no image {index}"))),
        }
    }
}
