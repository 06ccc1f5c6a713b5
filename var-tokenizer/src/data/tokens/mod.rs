//! `tokens.h5`: a data set as token ids.
//!
//! | place | what |
//! |---|---|
//! | `/train/tokens` `[N, L]` u16 (u32 above 65,536 codes) | ids of all scales, coarse to fine |
//! | `/train/labels` `[N]` u32 | class |
//! | `/train/source` `[N]` u32 | index of the image in its source |
//! | `/train/crop` `[N]` u16 | number of the view of that image |
//! | `/val/…` | the same for held-out images |
//! | `/sample` `[n]` u32 | in a part: the rows of `/train` from which the statistics of the joined file are computed |
//! | attributes of `/` | the fields of [`TokenInfo`], `format_version`, `complete` |
//!
//! HDF5 rewrites its indices in place: a process that is killed while it writes leaves an unreadable file. The rows
//! therefore go to a journal first (`tokens.h5.partial`: blocks with checksums, only appended). [`TokenWriter::finish`]
//! writes the HDF5 file from it under another name, and renames it. An unfinished `tokens.h5` never exists. After a
//! kill [`TokenWriter::resume`] continues after the last complete block.

mod ids;
mod journal;
mod reader;
mod shard;
mod stored;
mod whole;
mod writer;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::h5::text;
use crate::data::images::Split;
use crate::data::schedule::ScaleSchedule;
use crate::runtime::files::with_suffix;

pub use ids::{Ids, SplitTokens};
pub use reader::TokenFile;
pub use shard::Shard;
pub(crate) use writer::JoinedWriter;
pub use writer::{Progress, TokenWriter};

/// Version of the layout that is written, and the only one that is read.
pub const FORMAT_VERSION: u32 = 1;
/// End of a message that advises to start over. The program adds its flag for that.
pub const START_OVER: &str = "start over";
/// Attribute of a part: its number, and that of all parts.
const SHARD: &str = "shard";
/// Attribute of a part: the number of its images that cannot be read.
const UNREADABLE: &str = "unreadable";
/// Data set of a part: the rows of `/train` from which the statistics of the joined file are computed.
const SAMPLE: &str = "sample";
/// Rows in a chunk of the HDF5 file.
const CHUNK_ROWS: usize = 256;
/// Bounds that no data set comes near; they keep damaged numbers from asking for memory.
const MAX_VOCABULARY: usize = 1 << 24;
const MAX_CLASSES: usize = 1 << 20;
const MAX_CHANNELS: usize = 1 << 16;

/// How the tokens came to be: what a reader must know to use them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenInfo {
    /// Sides of the token maps; their squares sum to `L`.
    pub schedule: ScaleSchedule,
    /// Number of codes `V`; ids lie below.
    pub vocabulary: usize,
    /// Channels `z` of the latent.
    pub latent_channels: usize,
    /// SHA-256 of the tokenizer's file, 64 hexadecimal digits.
    pub tokenizer_sha256: String,
    /// Side of the images that were encoded, in pixels.
    pub image_side: usize,
    /// Sentence about crops and mirroring.
    pub crop_policy: String,
    /// Source of the images, as the request names it.
    pub source: String,
    /// SHA-256 over the requested images and views, in their order. Empty when unknown.
    #[serde(default)]
    pub pictures_sha256: String,
    /// Precision of the encoder, `f32` or `bf16`. Empty when unknown.
    #[serde(default)]
    pub precision: String,
    /// Names of the classes; labels lie below their number.
    pub class_names: Vec<String>,
    /// Mean and deviation of the input vectors, if they are to be standardised.
    pub input_statistics: Option<InputStatistics>,
    /// Which part of a data set this is, if it is not the whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
}

/// Mean and deviation of the transformer's input vectors, per latent channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputStatistics {
    /// `[z]`
    pub mean: Vec<f32>,
    /// `[z]`, above 0
    pub deviation: Vec<f32>,
}

/// Rows of tokens, as they are appended and read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// `[N, L]` ids, row by row.
    pub tokens: Vec<u32>,
    /// `[N]` classes.
    pub labels: Vec<u32>,
    /// `[N]` index of each row's image in its source.
    pub sources: Vec<u32>,
    /// `[N]` number of the view of that image.
    pub crops: Vec<u16>,
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
}

impl TokenInfo {
    /// Returns the tokens per image, `L`.
    pub fn length(&self) -> usize {
        self.schedule.tokens()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// Whether ids are stored in 16 bits.
    fn narrow(&self) -> bool {
        self.vocabulary <= 1 << 16
    }

    /// Bytes that the ids of a row take.
    fn row_bytes(&self) -> usize {
        self.length() * if self.narrow() { 2 } else { 4 }
    }

    /// Checks that the fields can belong together.
    fn check(&self) -> std::result::Result<(), String> {
        let within = |what: &str, number: usize, limit: usize| {
            let fits = (1..=limit).contains(&number);
            if fits { Ok(()) } else { Err(format!("{what} {number} is not from 1 to {limit}")) }
        };
        within("vocabulary", self.vocabulary, MAX_VOCABULARY)?;
        within("number of latent channels", self.latent_channels, MAX_CHANNELS)?;
        within("number of classes", self.classes(), MAX_CLASSES)?;
        within("image side", self.image_side, crate::data::images::Framing::MAX_SIDE)?;
        let hash = &self.tokenizer_sha256;
        if hash.len() != 64 || !hash.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!("tokenizer hash '{hash}' is not 64 hexadecimal digits"));
        }
        let texts = self.class_names.iter().chain([&self.crop_policy, &self.source]);
        if let Some(text) = texts.into_iter().find(|text| text.len() > text::MAX_TEXT || text.contains('\0'))
        {
            let start: String = text.chars().filter(|c| !c.is_control()).take(40).collect();
            return Err(format!(
                "text '{start}…' is longer than {} bytes or has a zero in it",
                text::MAX_TEXT
            ));
        }
        self.input_statistics.as_ref().map_or(Ok(()), |statistics| statistics.check(self.latent_channels))
    }
}

impl InputStatistics {
    fn check(&self, channels: usize) -> std::result::Result<(), String> {
        if self.mean.len() != channels || self.deviation.len() != channels {
            return Err(format!(
                "input statistics of {} and {} channels for {channels} latent channels",
                self.mean.len(),
                self.deviation.len()
            ));
        }
        let fine = self.mean.iter().all(|x| x.is_finite())
            && self.deviation.iter().all(|&x| x.is_finite() && x > 0.0);
        if fine {
            Ok(())
        } else {
            Err("input statistics that are not finite, or deviations not above 0".into())
        }
    }
}

/// Returns the first field in which two infos differ, and both values, in words.
pub(crate) fn difference(one: &TokenInfo, other: &TokenInfo) -> Option<(String, String, String)> {
    let unreadable = || Some(("unreadable".to_owned(), String::new(), String::new()));
    let (Ok(one), Ok(other)) = (serde_json::to_value(one), serde_json::to_value(other)) else {
        return unreadable();
    };
    let (Some(one), Some(other)) = (one.as_object(), other.as_object()) else { return unreadable() };
    let shown = |value: Option<&serde_json::Value>| {
        let text = value.map_or_else(|| "none".to_owned(), serde_json::Value::to_string);
        if text.len() > 80 { "…".to_owned() } else { text }
    };
    let key = one.keys().chain(other.keys()).find(|key| one.get(*key) != other.get(*key))?;
    let words = if key == "pictures_sha256" { "list of images, views or limits" } else { key };
    Some((words.to_owned(), shown(one.get(key)), shown(other.get(key))))
}

/// The journal of the token file at `path`: `PATH.partial`.
pub fn partial_path(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

/// Place of a split in arrays of two.
fn slot(split: Split) -> usize {
    match split {
        Split::Train => 0,
        Split::Val => 1,
    }
}
