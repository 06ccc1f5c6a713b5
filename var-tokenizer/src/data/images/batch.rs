//! Batches of images as numbers, decoded on all cores. Unreadable images are counted and do not stop the work.

use std::collections::BTreeSet;
use std::fmt;

use rayon::prelude::*;

use super::source::Source;
use super::transform::{Framing, View, append_unit};

/// Number of unreadable images that a message names.
const NAMED: usize = 5;

/// An image that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Its index in the source.
    pub index: usize,
    /// Its name in the source.
    pub name: String,
    /// The reason, after the name of the file.
    pub reason: String,
}

/// Images for the encoder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// `[B, 3, side, side]` in [−1, 1], contiguous; `B` counts the readable images.
    pub pixels: Vec<f32>,
    /// `[B]` class of each image.
    pub labels: Vec<u32>,
    /// `[B]` position of each image among the requested items.
    pub items: Vec<usize>,
    /// Number of images that were resized and cropped because they had another size.
    pub framed: usize,
    /// The images that cannot be read.
    pub bad: Vec<Bad>,
}

impl Batch {
    /// Returns the number of images `B`.
    pub(crate) fn len(&self) -> usize {
        self.labels.len()
    }

    /// Returns whether no image could be read.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

impl Source {
    /// Reads the images `items` = (index, view), in that order, each framed by `framing`.
    pub fn load_batch(&self, items: &[(usize, View)], framing: &Framing) -> Batch {
        let size = 3 * framing.side() * framing.side();
        let side = framing.side() as u32;
        let read: Vec<Result<(Vec<f32>, bool), Bad>> = items
            .par_iter()
            .map(|&(index, view)| {
                let square = self.load(index).and_then(|image| {
                    let framed = image.dimensions() != (side, side);
                    Ok((framing.frame(&image, view)?, framed))
                });
                let (square, framed) = square.map_err(|e| Bad {
                    index,
                    name: self.name(index).into_owned(),
                    reason: e.to_string(),
                })?;
                let mut pixels = Vec::with_capacity(size);
                append_unit(&square, &mut pixels);
                Ok((pixels, framed))
            })
            .collect();
        let mut batch = Batch { pixels: Vec::with_capacity(size * items.len()), ..Batch::default() };
        for (item, (result, &(index, _))) in read.into_iter().zip(items).enumerate() {
            match result {
                Ok((pixels, framed)) => {
                    batch.framed += usize::from(framed);
                    batch.pixels.extend_from_slice(&pixels);
                    batch.labels.push(self.entries().get(index).map_or(0, |entry| entry.class));
                    batch.items.push(item);
                }
                Err(bad) => batch.bad.push(bad),
            }
        }
        batch
    }
}

/// Counts of readable and unreadable images.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of images read.
    pub read: usize,
    /// Images that cannot be read. An image counts once, even with several views.
    pub bad: Vec<Bad>,
    /// Indices of `bad`.
    known: BTreeSet<usize>,
}

impl Report {
    /// Adds a batch.
    pub fn add(&mut self, batch: &Batch) {
        self.read += batch.len();
        for bad in &batch.bad {
            if self.known.insert(bad.index) {
                self.bad.push(bad.clone());
            }
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bad.is_empty() {
            return write!(f, "{} images read", self.read);
        }
        write!(f, "{} images read, {} bad ones left out:", self.read, self.bad.len())?;
        for bad in self.bad.iter().take(NAMED) {
            write!(f, "\n  {}", bad.reason)?;
        }
        if self.bad.len() > NAMED {
            write!(f, "\n  and {} more", self.bad.len() - NAMED)?;
        }
        Ok(())
    }
}
