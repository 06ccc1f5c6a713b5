//! `features.h5`: what a network said about a set of pictures, computed once and scored many times.
//!
//! | place | what |
//! |---|---|
//! | `/features` `[N, D]` f32 | pooled features |
//! | `/logits` `[N, C]` f32 | where the network gives them |
//! | `/spatial` `[N, S]` f32 | flattened spatial features, where the network gives them |
//! | `/labels` `[N]` u32 | class |
//! | `/index` `[N]` u32 | index of the picture in its source |
//! | `/size` `[N, 2]` u32 | width and height in pixels |
//! | `/picture` `[N, 16]` u8 | first half of the SHA-256 of the picture's size and pixels |
//! | `/mu` `[D]`, `/sigma` `[D, D]` f64 | mean and covariance (N − 1) of the features, from two pictures on |
//! | `/mu_s` `[S]`, `/sigma_s` `[S, S]` f64 | the same of the spatial features |
//! | attributes of `/` | the fields of [`StoreInfo`], `pictures`, `bad`, [`TraitCounts`], `pictures_sha256`, `format_version`, `complete` |
//!
//! HDF5 does not survive a kill in the middle of a write, so rows go to a journal beside the file first
//! (`features.h5.partial`), and [`FeatureWriter::finish`] makes the HDF5 file of it in one go, block by block,
//! and renames it. After a kill at any moment [`FeatureWriter::resume`] goes on behind the last whole block.

mod journal;
mod reader;
mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use var_tokenizer::images::Bad;

pub use journal::MARK as JOURNAL_MARK;
pub use reader::FeatureFile;
pub use writer::FeatureWriter;

use super::network::Identity;
use crate::inputs::pixels::{PixelRule, TraitCounts};

/// Version of the layout that is written. Version 1, which does not say how pixels were read, is read too: as shown.
pub const FORMAT_VERSION: u32 = 2;
/// Bytes of a picture's digest.
pub const DIGEST: usize = 16;
/// Bounds that no network and no data set come near; they keep damaged numbers from asking for memory.
const MAX_WIDTH: usize = 1 << 20;
const MAX_CLASSES: usize = 1 << 20;
/// Bytes of a chunk at most: what HDF5 keeps in its cache, so that a chunk is written once.
const CHUNK_BYTES: usize = 1 << 19;

/// Where features come from: files compare only where `network` is equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// The network, its weights and its preprocessing.
    pub network: Identity,
    /// The pictures, as they were asked for.
    pub source: String,
    /// SHA-256 over the list of pictures.
    pub source_sha256: String,
    /// How pixels were read.
    pub pixels: PixelRule,
    /// How many pictures were asked for, bad ones included.
    pub asked: u64,
    /// Names of the classes; labels lie below their number.
    pub class_names: Vec<String>,
}

/// Rows of features, as they are appended and read.
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
    /// `[N]` index of each picture in its source.
    pub indices: Vec<u32>,
    /// `[N, 2]` width and height.
    pub sizes: Vec<u32>,
    /// `[N, 16]` digests of the pictures.
    pub digests: Vec<u8>,
    /// `[N]` [`bits`](crate::inputs::pixels::bits) of each.
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

    /// What is wrong with the lengths of the parts, if anything is.
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
                "{found} {name} for {n} pictures of {width} each: {} promised them",
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

    /// Checks that the fields can belong together.
    fn check(&self) -> std::result::Result<(), String> {
        let network = &self.network;
        if !(1..=MAX_WIDTH).contains(&network.width) || network.classes.max(network.spatial) > MAX_WIDTH {
            return Err(format!(
                "{} features, {} logits and {} spatial features are not from 1 (0) to {MAX_WIDTH}",
                network.width, network.classes, network.spatial
            ));
        }
        let limit = var_tokenizer::h5::text::MAX_TEXT;
        let texts = [&network.network, &network.weights_sha256, &network.preprocessing, &self.source];
        if texts.into_iter().chain(&self.class_names).any(|text| text.len() > limit || text.contains('\0')) {
            return Err(format!("a text is longer than {limit} bytes or has a zero in it"));
        }
        if self.class_names.len() > MAX_CLASSES {
            return Err(format!("{} classes, at most {MAX_CLASSES}", self.class_names.len()));
        }
        Ok(())
    }

    /// The first thing in which two differ, in words.
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
            return Some(format!("pixels as {}, now as {} (--pixels)", self.pixels, wanted.pixels));
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

/// How far a file has come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows that are safe.
    pub rows: usize,
    /// Pictures that were dealt with, good or bad: where to go on.
    pub position: u64,
    /// Those that could not be read.
    pub bad: Vec<Bad>,
    /// Digest of the last picture that was appended.
    pub last: Option<([u8; DIGEST], u32)>,
    /// How many pictures have what readers treat differently.
    pub traits: TraitCounts,
}

/// What was asked for and how far it came, where a file was begun at `path` and not finished; `None` where no whole
/// journal lies there.
pub fn begun(path: &Path) -> Option<(StoreInfo, Progress)> {
    journal::look(&partial_path(path)).ok().flatten()
}

/// The journal of the file at `path`: `PATH.partial`.
pub fn partial_path(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

/// `PATH.bad.txt`: name and reason of every picture left out, a tab between them.
pub fn bad_path(path: &Path) -> PathBuf {
    with_suffix(path, ".bad.txt")
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
