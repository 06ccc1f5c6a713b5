//! What every kind of output holds and does, and the errors that all of them make.

use std::path::{Path, PathBuf};

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
    /// Images a class.
    pub per_class: usize,
    /// Side of a image in pixels.
    pub side: usize,
    /// Whether images are the best of several candidates.
    pub chosen: bool,
}

impl OutputPlan {
    /// Images in all.
    pub fn pictures(&self) -> usize {
        self.labels.len() * self.per_class
    }

    /// Label and name of image `number`.
    pub(super) fn class(&self, number: usize) -> (i64, &str) {
        let label = self.labels.get(number / self.per_class.max(1)).copied().unwrap_or(0);
        (label, self.names.name(label))
    }

    /// The row of image `number` in an archive and a folder: the first image of each class, then the second of
    /// each. Numbers of images per class differ by at most one in any run of rows.
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

/// A image to be written.
#[derive(Debug, Clone)]
pub struct Picture {
    /// Its pixels.
    pub image: RgbImage,
    /// Which candidate it was, where there were several.
    pub candidate: Option<Candidate>,
}

/// A candidate that was kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Its number among all candidates of the call: what its draws depend on.
    pub number: u64,
    /// The classifier's probability of its class.
    pub probability: f64,
}

/// One place where the images of a call go.
pub(super) trait Output: std::fmt::Debug {
    /// The place as it was named.
    fn path(&self) -> &Path;
    /// What an earlier call left here.
    fn earlier(&self) -> &Earlier;
    /// Forgets what an earlier call left here, where it can be made again from the other outputs.
    fn forget(&mut self) {}
    /// Image `number`, which is here.
    fn read(&mut self, number: usize) -> Result<Picture>;
    /// Which candidate image `number` was.
    fn candidate(&mut self, number: usize) -> Result<Option<Candidate>> {
        Ok(self.read(number)?.candidate)
    }
    /// Gets ready to write: the first `count` images stay, the rest goes.
    fn begin(&mut self, count: usize, settings: &Value) -> Result<()>;
    /// Appends images, in the order of their numbers.
    fn add(&mut self, pictures: &[Picture]) -> Result<()>;
    /// Makes sure that what was added is on the disk.
    fn sync(&mut self) -> Result<()>;
    /// Makes the output whole.
    fn finish(&mut self) -> Result<()>;
    /// Whether an interrupted call can be resumed from here.
    fn keeps(&self) -> bool;
}

/// What an earlier call left at a place.
#[derive(Debug, Default)]
pub(super) struct Earlier {
    /// Its settings.
    pub(super) settings: Option<Value>,
    /// Whether it made anything here, be it one torn image: its settings count then.
    pub(super) made: bool,
    /// Whole images, from number 0 on.
    pub(super) done: usize,
    /// Whether all is there, and nothing left to do.
    pub(super) finished: bool,
    /// What is missing although other files show that images were made, and what to do.
    pub(super) lost: Option<String>,
    /// What a person should know.
    pub(super) note: Option<String>,
}

impl Earlier {
    /// Whether there is nothing to resume from.
    pub(super) fn is_nothing(&self) -> bool {
        self.settings.is_none() && self.lost.is_none()
    }
}

/// Turns an error about a file beside the one at `path` into one about it: a person knows no other name.
pub(super) fn about(path: &Path) -> impl Fn(var_tokenizer::Error) -> Error + '_ {
    use var_tokenizer::Error as E;
    move |e| match e {
        E::Io { source, .. } => E::io(path, source),
        E::File { message, .. } => E::file(path, message),
        other => other,
    }
}

/// `path` with `ending` behind its whole name.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

pub(super) fn io(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |e| Error::io(path, e)
}
