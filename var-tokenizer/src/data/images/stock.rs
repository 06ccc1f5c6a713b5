//! The files that a folder or an archive holds, before anything is made of their names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::blob::Blob;
use super::decode::{Decoded, MAX_FILE, Pixels, decode_pixels, is_picture_name, read_pixels};
use super::names::{Skipped, hidden_part};
use super::source::Pictures;
use crate::runtime::error::{Error, Result};

/// Where a file's bytes lie.
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

/// Files by name (`/` between folders), without hidden ones and without what is no file.
#[derive(Debug)]
pub(crate) struct Stock {
    /// The folder or archive.
    path: PathBuf,
    names: Vec<String>,
    places: Vec<Place>,
    archives: Vec<Blob>,
    /// What was passed over.
    pub(crate) skipped: Skipped,
    /// Whether each picture has its class in a file beside it, never in a folder's name.
    pub(crate) shards: bool,
}

impl Stock {
    /// Nothing yet, of the folder or archive at `path`.
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

    /// Adds an archive, whose parts are then added under the number that comes back.
    pub(crate) fn add_archive(&mut self, blob: Blob) -> u32 {
        self.archives.push(blob);
        self.archives.len() as u32 - 1
    }

    /// Adds a file, or the topmost hidden part of its name to what is skipped.
    pub(crate) fn add(&mut self, name: String, place: Place) {
        if let Some(hidden) = hidden_part(&name) {
            self.skipped.hidden.insert(hidden.to_owned());
            return;
        }
        self.names.push(name);
        self.places.push(place);
    }

    /// Takes over the archive of `other`, a stock of one archive, and gives its files with their new places.
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

    /// The names of all files.
    pub(crate) fn names(&self) -> &[String] {
        &self.names
    }

    /// The files whose names end like pictures.
    pub(crate) fn pictures(&self) -> Vec<usize> {
        (0..self.names.len())
            .filter(|&i| self.names.get(i).is_some_and(|name| is_picture_name(name)))
            .collect()
    }

    /// The positions of all files that are no pictures, by name.
    pub(crate) fn others(&self) -> HashMap<&str, usize> {
        let names = self.names.iter().map(String::as_str).zip(0..);
        names.filter(|(name, _)| !is_picture_name(name)).collect()
    }

    /// The bytes of file `position`, if there are at most `most`.
    pub(crate) fn read(&self, position: usize, most: u64) -> Result<Vec<u8>> {
        let path = self.shown(position);
        let too_large = |size: u64| {
            let message = format!("{size} bytes: too large for what it should be");
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

    /// The first bytes of file `position`.
    pub(crate) fn head(&self, position: usize) -> Result<Vec<u8>> {
        let blob = match self.places.get(position) {
            Some(Place::File(path)) => Blob::plain(path)?,
            _ => self.blob(position)?,
        };
        blob.read(0, blob.length().min(512))
    }

    /// The file `position` as an archive of its own.
    pub(crate) fn blob(&self, position: usize) -> Result<Blob> {
        match self.places.get(position) {
            Some(Place::File(path)) => Blob::open(path),
            Some(&Place::Part { offset, size, .. }) => self.archive(position)?.slice(offset, size),
            None => Err(Error::Config(format!("no file {position}"))),
        }
    }

    /// The path of file `position` for messages.
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

    /// The pictures at `positions`, in that order.
    pub(crate) fn access(mut self, positions: &[usize]) -> Box<dyn Pictures> {
        let names = positions.iter().map(|&i| self.names.get(i).cloned().unwrap_or_default()).collect();
        let places = positions.iter().filter_map(|&i| self.places.get(i).cloned()).collect();
        (self.names, self.places) = (names, places);
        Box::new(self)
    }
}

impl Pictures for Stock {
    fn picture(&self, index: usize, pixels: Pixels) -> Result<Decoded> {
        match self.places.get(index) {
            Some(Place::File(path)) => read_pixels(path, pixels),
            Some(&Place::Part { offset, size, .. }) => {
                let path = self.shown(index);
                if size > MAX_FILE {
                    return Err(Error::file(path, format!("{size} bytes: too large for a picture file")));
                }
                let bytes = self.archive(index)?.read(offset, size)?;
                decode_pixels(&bytes, pixels).map_err(|reason| Error::file(path, reason))
            }
            None => Err(Error::Config(format!("no picture {index}"))),
        }
    }
}
