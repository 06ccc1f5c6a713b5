//! The request of `var-model edit`.

use std::path::PathBuf;

use var_tokenizer::command_line::Given;

use crate::edit::FractionBox;
use crate::sampling::SamplingOptions;
use crate::source::ModelSource;

/// Maximum number of variants of one call.
pub const MOST_VARIANTS: usize = 64;
/// Maximum enlargement of a strip.
pub const MOST_ZOOM: u32 = 16;

/// The part to generate, as the user names it.
#[derive(Debug, Clone)]
pub enum AreaRequest {
    /// The inside of a box, or with `outpaint` the outside.
    Box {
        /// The box.
        bounds: FractionBox,
        /// Whether the outside is generated.
        outpaint: bool,
    },
    /// A mask image whose white pixels are generated, or with `invert` all others.
    Mask {
        /// The image.
        path: PathBuf,
        /// Whether white pixels are kept instead.
        invert: bool,
    },
}

/// The request of `var-model edit`.
#[derive(Debug)]
pub struct EditRequest {
    /// Model, tokenizer and class names.
    pub source: ModelSource,
    /// The photo.
    pub image: PathBuf,
    /// The part to generate.
    pub area: AreaRequest,
    /// Class by number or name; `None` for "no class".
    pub class: Option<String>,
    /// How tokens are chosen.
    pub options: SamplingOptions,
    /// Seed; variant `n` is image number `n` of this seed.
    pub seed: u64,
    /// Number of results, 1 to [`MOST_VARIANTS`].
    pub variants: usize,
    /// Whether the generated part is put into the photo; by default unless the photo has the model's side.
    pub blend: Option<bool>,
    /// Pixels over which the border is soft.
    pub feather: Option<u32>,
    /// Result (PNG); several are numbered.
    pub out: Option<PathBuf>,
    /// All in one row (PNG).
    pub strip: Option<PathBuf>,
    /// Enlargement of the strip, 1 to [`MOST_ZOOM`].
    pub strip_zoom: u32,
    /// The flags that the user gave. Only for these, a note says that they have no effect.
    pub given: Given,
}
