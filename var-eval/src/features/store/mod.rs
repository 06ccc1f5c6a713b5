//! `features.h5`: the outputs of a network for a set of images, computed once and scored many times.
//!
//! | place | what |
//! |---|---|
//! | `/features` `[N, D]` f32 | pooled features |
//! | `/logits` `[N, C]` f32 | logits, if the network has them |
//! | `/spatial` `[N, S]` f32 | flattened spatial features, if the network has them |
//! | `/labels` `[N]` u32 | class |
//! | `/index` `[N]` u32 | index of the image in its source |
//! | `/size` `[N, 2]` u32 | width and height in pixels |
//! | `/picture` `[N, 16]` u8 | first half of the SHA-256 of the image's size and pixels |
//! | `/mu` `[D]`, `/sigma` `[D, D]` f64 | mean and covariance (N − 1) of the features, from two images on |
//! | `/mu_s` `[S]`, `/sigma_s` `[S, S]` f64 | the same of the spatial features |
//! | attributes of `/` | the fields of [`StoreInfo`], `pictures`, `bad`, [`TraitCounts`], `pictures_sha256`, `format_version`, `complete` |
//!
//! HDF5 does not survive a kill during a write. Rows therefore go to a journal next to the file first
//! (`features.h5.partial`). [`FeatureWriter::finish`] makes the HDF5 file from it, block by block, and renames it. After a
//! kill at any moment, [`FeatureWriter::resume`] continues after the last whole block.

mod journal;
mod reader;
mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use var_tokenizer::files::with_suffix;
use var_tokenizer::images::Bad;

pub use journal::MARK as JOURNAL_MARK;
pub use reader::FeatureFile;
pub use writer::FeatureWriter;

use super::network::Identity;
use crate::inputs::pixels::PixelRule;

#[doc(inline)]
pub use crate::inputs::pixels::TraitCounts;

/// Version of the layout that is written. Version 1 is read too; it does not state the pixel rule, which was `shown`.
pub const FORMAT_VERSION: u32 = 2;
/// Bytes of the digest of an image.
pub const DIGEST: usize = 16;
/// Bounds far above any network and data set, so that a damaged number cannot exhaust memory.
const MAX_WIDTH: usize = 1 << 20;
const MAX_CLASSES: usize = 1 << 20;
/// Maximum bytes of a chunk: it fits HDF5's cache, so that it is written once.
const CHUNK_BYTES: usize = 1 << 19;

/// Where features come from. Files compare only if `network` is equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// The network, its weights and its preprocessing.
    pub network: Identity,
    /// The images, as they were requested.
    pub source: String,
    /// SHA-256 over the list of images.
    pub source_sha256: String,
    /// How pixels were read.
    pub pixels: PixelRule,
    /// Number of requested images, including unreadable ones.
    pub asked: u64,
    /// Names of the classes; a label is an index into them.
    pub class_names: Vec<String>,
}

/// Rows of features.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    /// `[N, D]`, row by row.
    pub features: Vec<f32>,
    /// `[N, C]`
    pub logits: Vec<f32>,
    /// `[N, S]`
    pub spatial: Vec<f32>,
    /// `[N]` classes.
    pub labels: Vec<u32>,
    /// `[N]` index of each image in its source.
    pub indices: Vec<u32>,
    /// `[N, 2]` width and height.
    pub sizes: Vec<u32>,
    /// `[N, 16]` digests of the images.
    pub digests: Vec<u8>,
    /// `[N]` Bits (`inputs::pixels::bits`) of each.
    pub traits: Vec<u8>,
}

impl Rows {
    /// Number of rows `N`.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Fails if the parts have wrong lengths; says which.
    fn check(&self, network: &Identity) -> std::result::Result<(), String> {
        let n = self.len();
        let parts = [
            ("features", self.features.len(), network.width),
            ("logits", self.logits.len(), network.classes),
            ("spatial features", self.spatial.len(), network.spatial),
            ("indices", self.indices.len(), 1),
            ("sizes", self.sizes.len(), 2),
            ("digests", self.digests.len(), DIGEST),
            ("traits", self.traits.len(), 1),
        ];
        match parts.into_iter().find(|&(_, found, width)| n.checked_mul(width) != Some(found)) {
            Some((name, found, width)) => Err(format!(
                "{found} {name} for {n} images; expected {width} per image from {}",
                network.network
            )),
            None => Ok(()),
        }
    }
}

impl StoreInfo {
    /// Bytes that a row takes in the journal.
    fn row_bytes(&self) -> usize {
        let Identity { width, classes, spatial, .. } = self.network;
        4 * (width + classes + spatial) + 4 + 4 + 8 + DIGEST + 1
    }

    /// Fails if the fields do not fit together.
    fn check(&self) -> std::result::Result<(), String> {
        let network = &self.network;
        if !(1..=MAX_WIDTH).contains(&network.width) || network.classes.max(network.spatial) > MAX_WIDTH {
            return Err(format!(
                "{} features, {} logits and {} spatial features: expected 1 (features) or 0 to {MAX_WIDTH}",
                network.width, network.classes, network.spatial
            ));
        }
        let limit = var_tokenizer::h5::text::MAX_TEXT;
        let texts = [&network.network, &network.weights_sha256, &network.preprocessing, &self.source];
        if texts.into_iter().chain(&self.class_names).any(|text| text.len() > limit || text.contains('\0')) {
            return Err(format!("a text is longer than {limit} bytes or contains a zero byte"));
        }
        if self.class_names.len() > MAX_CLASSES {
            return Err(format!("{} classes, at most {MAX_CLASSES}", self.class_names.len()));
        }
        Ok(())
    }

    /// The first difference; `None` if there is none.
    pub fn difference(&self, wanted: &Self) -> Option<String> {
        let (mine, theirs) = (&self.network, &wanted.network);
        let short = |hash: &str| hash.chars().take(12).collect::<String>();
        if mine.network != theirs.network {
            return Some(format!("network {}, now {}", mine.network, theirs.network));
        }
        if mine.weights_sha256 != theirs.weights_sha256 {
            return Some(format!(
                "weights of {} with SHA-256 {}…, now {}…",
                mine.network,
                short(&mine.weights_sha256),
                short(&theirs.weights_sha256)
            ));
        }
        if mine != theirs {
            return Some(format!("preprocessing {}, now {}", mine.preprocessing, theirs.preprocessing));
        }
        if self.pixels != wanted.pixels {
            return Some(format!("pixels as {}, now as {}", self.pixels, wanted.pixels));
        }
        if self.source_sha256 == wanted.source_sha256 && self.class_names == wanted.class_names {
            return None;
        }
        if self.source == wanted.source {
            return Some(format!(
                "other images or labels ({} images, now {}; {} has changed)",
                self.asked, wanted.asked, self.source
            ));
        }
        Some(format!("other images (of {}, now of {})", self.source, wanted.source))
    }
}

/// StoreProgress of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreProgress {
    /// Rows that are safe.
    pub rows: usize,
    /// Images that were processed, readable or not: where to continue.
    pub position: u64,
    /// Those that could not be read.
    pub bad: Vec<Bad>,
    /// Digest of the last image that was appended.
    pub last: Option<([u8; DIGEST], u32)>,
    /// How many images have each trait.
    pub traits: TraitCounts,
}

/// The request and the progress of an unfinished file at `path`; `None` if there is no intact journal.
pub fn begun(path: &Path) -> Option<(StoreInfo, StoreProgress)> {
    journal::look(&partial_path(path)).ok().flatten()
}

/// The journal of the file at `path`: `PATH.partial`.
pub fn partial_path(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

/// `PATH.bad.txt`: name and reason of each skipped image, separated by a tab.
pub fn bad_path(path: &Path) -> PathBuf {
    with_suffix(path, ".bad.txt")
}
