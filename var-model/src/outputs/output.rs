//! The interface of all kinds of outputs, and their shared types.

use std::path::Path;

use image::RgbImage;
use serde_json::Value;

use crate::classes::ClassNames;
use crate::error::{Error, Result};

/// Which images a call makes.
#[derive(Debug, Clone)]
pub struct OutputPlan {
    /// The label of each class, in the order of the image numbers.
    pub labels: Vec<i64>,
    /// Names of the labels.
    pub names: ClassNames,
    /// Images per class.
    pub per_class: usize,
    /// Side of an image in pixels.
    pub side: usize,
    /// Whether images are the best of several candidates.
    pub chosen: bool,
}

impl OutputPlan {
    /// Number of images.
    pub fn pictures(&self) -> usize {
        self.labels.len() * self.per_class
    }

    /// Label and name of image `number`.
    pub(super) fn class(&self, number: usize) -> (i64, &str) {
        let label = self.labels.get(number / self.per_class.max(1)).copied().unwrap_or(0);
        (label, self.names.name(label))
    }

    /// The row of image `number` in an archive and a folder: the first image of each class, then the second of each, and
    /// so on. In any range of rows, the numbers of images per class differ by at most one.
    pub fn row(&self, number: usize) -> usize {
        let per_class = self.per_class.max(1);
        number % per_class * self.labels.len() + number / per_class
    }

    /// The number of the image in `row`; the inverse of [`OutputPlan::row`].
    pub fn number_in(&self, row: usize) -> usize {
        let classes = self.labels.len().max(1);
        row % classes * self.per_class + row / classes
    }

    /// Bytes of one image.
    pub(crate) fn picture_bytes(&self) -> usize {
        3 * self.side * self.side
    }
}

/// An image to write.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Its pixels.
    pub image: RgbImage,
    /// Which candidate it was, if there were several.
    pub candidate: Option<Candidate>,
}

/// A candidate that was kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its number among all candidates of the call; its draws depend on it.
    pub number: u64,
    /// The classifier's probability of its class.
    pub probability: f64,
}

/// One place for the images of a call.
pub(super) trait Output: std::fmt::Debug {
    /// The place, as the user named it.
    fn path(&self) -> &Path;
    /// What an earlier call left here.
    fn earlier(&self) -> &Earlier;
    /// Ignores what an earlier call left here, if the other outputs can replace it.
    fn forget(&mut self) {}
    /// Reads image `number`, which must be here.
    fn read(&mut self, number: usize) -> Result<Picture>;
    /// Which candidate image `number` was.
    fn candidate(&mut self, number: usize) -> Result<Option<Candidate>> {
        Ok(self.read(number)?.candidate)
    }
    /// Prepares for writing: keeps the first `count` images, and removes the rest.
    fn begin(&mut self, count: usize, settings: &Value) -> Result<()>;
    /// Appends images, in the order of their numbers.
    fn add(&mut self, pictures: &[Picture]) -> Result<()>;
    /// Writes all added images to the disk.
    fn sync(&mut self) -> Result<()>;
    /// Completes the output.
    fn finish(&mut self) -> Result<()>;
    /// Whether an interrupted call can be resumed from here.
    fn keeps(&self) -> bool;
}

/// What an earlier call left at a place.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// Its settings.
    pub(super) settings: Option<Value>,
    /// Whether it wrote anything here, even one incomplete image. Its settings count then.
    pub(super) made: bool,
    /// Number of complete images, from number 0 on.
    pub(super) done: usize,
    /// Whether the output is complete.
    pub(super) finished: bool,
    /// What is missing, although other files show that images were made; and what to do.
    pub(super) lost: Option<String>,
    /// A note for the user.
    pub(super) note: Option<String>,
}

impl Earlier {
    /// Whether there is nothing to resume from.
    pub(super) fn is_nothing(&self) -> bool {
        self.settings.is_none() && self.lost.is_none()
    }
}

/// Turns an error about a temporary file into one about the file at `path`, the only name that the user knows.
pub(super) fn about(path: &Path) -> impl Fn(var_tokenizer::Error) -> Error + '_ {
    use var_tokenizer::Error as E;
    move |e| match e {
        E::Io { source, .. } => E::io(path, source),
        E::File { message, .. } => E::file(path, message),
        other => other,
    }
}

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |e| Error::io(path, e)
}
