//! The files of a folder or archive.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::blob::Blob;
use super::decode::{Decoded, MAX_FILE, Pixels, decode_pixels, is_image_name, read_pixels};
use super::listing::Images;
use super::name_list::NameList;
use super::names::{Skipped, hidden_part};
use crate::runtime::error::{Error, Result};

/// Place of the bytes of a file in an archive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    /// Which of the stock's archives.
    pub(crate) archive: u32,
    /// Where the bytes begin.
    pub(crate) offset: u64,
    /// How many there are.
    pub(crate) size: u64,
}

/// Files by name (`/` between folders), without hidden files, pipes and devices: those of a folder, or those of
/// archives. A million files take their names and a few bytes each.
#[derive(Debug)]
pub(crate) struct Stock {
    /// The folder or archive.
    path: PathBuf,
    names: NameList,
    /// Places in the archives. Empty for a folder.
    parts: Vec<Part>,
    /// Paths of the files of a folder that are not the folder and the name: names that are not UTF-8.
    paths: HashMap<usize, PathBuf>,
    archives: Vec<Blob>,
    /// Positions of the images, once they are listed.
    order: Vec<u32>,
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
            names: NameList::default(),
            parts: Vec::new(),
            paths: HashMap::new(),
            archives: Vec::new(),
            order: Vec::new(),
            skipped: Skipped::default(),
            shards: false,
        }
    }

    /// Adds an archive, and returns its number.
    pub(crate) fn add_archive(&mut self, blob: Blob) -> u32 {
        self.archives.push(blob);
        self.archives.len() as u32 - 1
    }

    /// Adds a file of the folder. Its `path` is only given when it is not the folder and the name.
    pub(crate) fn add_file(&mut self, name: &str, path: Option<PathBuf>) {
        if let Some(path) = path {
            self.paths.insert(self.names.len(), path);
        }
        self.names.push(name);
    }

    /// Adds a file of an archive. Of a hidden file it adds the topmost hidden part of the name to the skipped entries.
    pub(crate) fn add_part(&mut self, name: &str, part: Part) {
        if let Some(hidden) = hidden_part(name) {
            self.skipped.hidden.insert(hidden.to_owned());
            return;
        }
        self.names.push(name);
        self.parts.push(part);
    }

    /// Adds the files of another stock of the same folder.
    pub(crate) fn append(&mut self, other: Self) {
        let before = self.names.len();
        self.names.append(&other.names);
        self.paths.extend(other.paths.into_iter().map(|(position, path)| (before + position, path)));
        self.skipped.join(other.skipped);
    }

    /// Takes the archives of `other`, and returns its files with their new places.
    pub(crate) fn take_archives(&mut self, other: Self) -> (NameList, Vec<Part>) {
        let first = self.archives.len() as u32;
        self.archives.extend(other.archives);
        let moved = other.parts.into_iter().map(|part| Part { archive: first + part.archive, ..part });
        (other.names, moved.collect())
    }

    /// The folder or archive.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the names of all files.
    pub(crate) fn names(&self) -> &NameList {
        &self.names
    }

    /// Whether a file has the ending of an image.
    pub(crate) fn has_images(&self) -> bool {
        self.names.iter().any(is_image_name)
    }

    /// Returns the positions of all files with the ending of an image, sorted by name, and those of all other files.
    pub(crate) fn sorted(&self) -> (Vec<u32>, Vec<u32>) {
        let mut positions: Vec<u32> = (0..self.names.len() as u32).collect();
        // Stable: fast for names that are all but sorted.
        positions.sort_by(|&a, &b| self.names.get(a as usize).cmp(self.names.get(b as usize)));
        positions.into_iter().partition(|&position| is_image_name(self.names.get(position as usize)))
    }

    /// Reads file `position`, if it has at most `most` bytes.
    pub(crate) fn read(&self, position: usize, most: u64) -> Result<Vec<u8>> {
        let too_large = |size: u64| {
            let message = format!("{size} bytes: larger than the limit of {most} bytes");
            if size > most { Err(Error::file(self.place(position), message)) } else { Ok(()) }
        };
        match self.parts.get(position) {
            Some(&Part { archive, offset, size }) => {
                too_large(size)?;
                self.archive(archive)?.read(offset, size)
            }
            None => {
                let path = self.place(position);
                too_large(std::fs::metadata(&path).map_err(|e| Error::io(&path, e))?.len())?;
                std::fs::read(&path).map_err(|e| Error::io(&path, e))
            }
        }
    }

    /// Reads the first bytes of file `position`.
    pub(crate) fn head(&self, position: usize) -> Result<Vec<u8>> {
        let blob = match self.parts.get(position) {
            Some(_) => self.blob(position)?,
            None => Blob::plain(&self.place(position))?,
        };
        blob.read(0, blob.length().min(512))
    }

    /// Opens file `position` as an archive.
    pub(crate) fn blob(&self, position: usize) -> Result<Blob> {
        match self.parts.get(position) {
            Some(&Part { archive, offset, size }) => self.archive(archive)?.slice(offset, size),
            None => Blob::open(&self.place(position)),
        }
    }

    /// Whether these are the files of a folder.
    pub(crate) fn is_folder(&self) -> bool {
        self.archives.is_empty()
    }

    /// Returns the path of file `position`: of its own, or below that of the archive for messages.
    pub(crate) fn place(&self, position: usize) -> PathBuf {
        self.paths.get(&position).cloned().unwrap_or_else(|| self.path.join(self.names.get(position)))
    }

    fn archive(&self, archive: u32) -> Result<&Blob> {
        self.archives.get(archive as usize).ok_or_else(|| Error::Config(format!("no archive {archive}")))
    }

    /// Gives access to the images at the positions `order`.
    pub(crate) fn access(mut self, order: Vec<u32>) -> Box<dyn Images> {
        self.names.shrink();
        self.parts.shrink_to_fit();
        self.order = order;
        Box::new(self)
    }

    fn position(&self, index: usize) -> usize {
        self.order.get(index).map_or(usize::MAX, |&position| position as usize)
    }
}

impl Images for Stock {
    fn name(&self, index: usize) -> Cow<'_, str> {
        self.names.get(self.position(index)).into()
    }

    fn image(&self, index: usize, pixels: Pixels) -> Result<Decoded> {
        let position = self.position(index);
        let path = self.place(position);
        let Some(&Part { archive, offset, size }) = self.parts.get(position) else {
            return read_pixels(&path, pixels);
        };
        if size > MAX_FILE {
            return Err(Error::file(path, format!("{size} bytes: too large for an image file")));
        }
        let bytes = self.archive(archive)?.read(offset, size)?;
        decode_pixels(&bytes, pixels).map_err(|reason| Error::file(path, reason))
    }
}
