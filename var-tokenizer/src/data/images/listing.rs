//! The list that every kind of source makes of its files: images with classes, and access to them.

use std::borrow::Cow;
use std::fmt;

use super::decode::{Decoded, Pixels};
use super::split::Split;
use crate::runtime::error::Result;

/// An image of a source, before it is decoded. [`Source::name`](super::Source::name) has its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Index into the source's class names.
    pub class: u32,
    /// The part that it belongs to, if the source says so.
    pub split: Option<Split>,
    /// Group. All images of a group are in the same part.
    pub group: u32,
}

/// Access to the images of a source, by index, from any thread.
pub(crate) trait Images: fmt::Debug + Send + Sync {
    /// Returns the name of image `index` in the source.
    fn name(&self, index: usize) -> Cow<'_, str>;

    /// Decodes image `index`. `pixels` counts for image files only, not for arrays.
    fn image(&self, index: usize, pixels: Pixels) -> Result<Decoded>;
}

/// The images of a source.
#[derive(Debug)]
pub(crate) struct Listing {
    /// The images, in the source's order.
    pub(crate) entries: Vec<Entry>,
    /// The class names, in the source's order.
    pub(crate) classes: Vec<String>,
    /// Access to the images.
    pub(crate) images: Box<dyn Images>,
    /// A sentence per thing that was skipped or decided.
    pub(crate) notes: Vec<String>,
}
