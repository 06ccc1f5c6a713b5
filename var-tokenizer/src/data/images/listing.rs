//! What every kind of source makes of its files: pictures with classes, and access to them.

use std::fmt;

use super::decode::{Decoded, Pixels};
use super::split::Split;
use crate::runtime::error::Result;

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
