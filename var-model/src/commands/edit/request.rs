//! What `var-model edit` is told.

use std::path::PathBuf;

use var_tokenizer::command_line::Given;

use crate::edit::FractionBox;
use crate::sampling::SamplingOptions;
use crate::source::ModelSource;

/// Most variants of one call.
pub const MOST_VARIANTS: usize = 64;
/// Largest enlargement of a strip.
pub const MOST_ZOOM: u32 = 16;

/// What is to be generated, as a person names it.
#[derive(Debug, Clone)]
pub enum AreaRequest {
    /// A box, its inside or with `outpaint` its outside.
    Box {
        /// The box.
        bounds: FractionBox,
        /// Whether the outside is generated.
        outpaint: bool,
    },
    /// A image whose white pixels are generated, with `invert` all others.
    Mask {
        /// The image.
        path: PathBuf,
        /// Whether white keeps.
        invert: bool,
    },
}

/// What `var-model edit` is told.
#[derive(Debug)]
pub struct EditRequest {
    /// Model, tokenizer and class names.
    pub source: ModelSource,
    /// The photo.
    pub image: PathBuf,
    /// What of it is generated.
    pub area: AreaRequest,
    /// Class by number or name; none for "no class".
    pub class: Option<String>,
    /// How tokens are chosen.
    pub options: SamplingOptions,
    /// Seed; variant `n` is image number `n` under it.
    pub seed: u64,
    /// How many results, 1 to [`MOST_VARIANTS`].
    pub variants: usize,
    /// Whether the generated part is put into the photo; by default unless the photo has the model's side.
    pub blend: Option<bool>,
    /// Pixels over which the border is soft.
    pub feather: Option<u32>,
    /// Result (PNG); numbered where there are several.
    pub out: Option<PathBuf>,
    /// All in one row (PNG).
    pub strip: Option<PathBuf>,
    /// How many times the strip is enlarged, 1 to [`MOST_ZOOM`].
    pub strip_zoom: u32,
    /// Which flags the person gave: what has no effect is reported for these.
    pub given: Given,
}
