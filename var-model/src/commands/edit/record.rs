//! What `var-model edit` writes about its results: the record next to them, and the `done` event.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::AreaRequest;
use crate::edit::{FractionBox, Window};
use crate::error::Result;
use crate::sampling::SamplingOptions;
use crate::source::FileDigest;

/// The settings and files of an edit: `NAME.json` next to the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EditRecord {
    /// Name and version of the program.
    pub program: String,
    /// The photo.
    pub image: FileDigest,
    /// The part that was generated.
    pub area: AreaRecord,
    /// The square of the photo that the model saw.
    pub window: Window,
    /// Pixels of the photo that were generated.
    pub generated_pixels: usize,
    /// Latent cells that were generated.
    pub generated_cells: usize,
    /// Number of latent cells.
    pub cells: usize,
    /// Number of the class; none for "no class".
    pub class: Option<usize>,
    /// Name of the class.
    pub class_name: Option<String>,
    /// How tokens were chosen.
    pub options: SamplingOptions,
    /// Seed.
    pub seed: u64,
    /// Whether the generated part was put into the photo.
    pub blend: bool,
    /// Pixels over which the border is soft.
    pub feather: Option<u32>,
    /// The transformer's file.
    pub model: FileDigest,
    /// The tokenizer's file.
    pub tokenizer: FileDigest,
    /// Precision.
    pub precision: String,
    /// Device.
    pub device: String,
    /// The results.
    pub results: Vec<ResultRecord>,
    /// The strip of all.
    pub strip: Option<FileDigest>,
    /// What a user should know about the call.
    pub notes: Vec<String>,
}

/// The part that was generated.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum AreaRecord {
    /// A box, its inside or its outside.
    Box {
        /// The box.
        #[serde(rename = "box")]
        bounds: FractionBox,
        /// Whether the outside was generated.
        outpaint: bool,
    },
    /// The white pixels of a mask.
    Mask {
        /// The mask.
        mask: FileDigest,
        /// Whether white was kept instead.
        inverted: bool,
    },
}

impl AreaRecord {
    pub(super) fn of(area: &AreaRequest) -> Result<Self> {
        Ok(match area {
            AreaRequest::Box { bounds, outpaint } => Self::Box { bounds: *bounds, outpaint: *outpaint },
            AreaRequest::Mask { path, invert } => {
                Self::Mask { mask: FileDigest::of(path)?, inverted: *invert }
            }
        })
    }
}

/// One result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ResultRecord {
    /// Its number.
    pub picture: usize,
    /// Its file.
    pub file: FileDigest,
}

/// What a call did: the `done` event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename = "done")]
pub struct EditSummary {
    /// Results.
    pub pictures: usize,
    /// Seconds that it took, without loading.
    pub seconds: f64,
    /// Files of the results.
    pub out: Vec<PathBuf>,
    /// The strip of all.
    pub strip: Option<PathBuf>,
    /// The record.
    pub record: PathBuf,
    /// What a user should know about the call.
    pub notes: Vec<String>,
}

impl EditSummary {
    /// The file that the user named first.
    pub fn written(&self) -> Option<&Path> {
        self.out.first().or(self.strip.as_ref()).map(PathBuf::as_path)
    }
}
