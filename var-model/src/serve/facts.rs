//! What the page and the checks of requests need to know of the loaded model.

use serde::Serialize;
use tch::{Device, Kind};
use var_tokenizer::torch::Precision;

use super::command;
use super::limits::{
    MOST_CLASSES, MOST_IMAGES, MOST_PHOTO_BYTES, MOST_PHOTO_PIXELS, MOST_SCALE_IMAGES, MOST_VARIANTS, PLACES,
};
use crate::classes::ClassNames;
use crate::config::TransformerConfig;
use crate::order::Order;
use crate::source::{ModelSource, Opened};

/// The loaded model, without its weights.
#[derive(Debug)]
pub(super) struct Facts {
    pub card: Card,
    pub names: ClassNames,
    pub config: TransformerConfig,
    /// Side of an image in pixels.
    pub side: usize,
    /// The flags of the model in a command line.
    pub flags: Vec<String>,
    /// What the user should know about the files.
    pub notes: Vec<String>,
}

/// The model as the page shows it.
#[derive(Debug, Serialize)]
pub(super) struct Card {
    program: &'static str,
    model: String,
    side: usize,
    /// Sides of the token maps.
    scales: Vec<usize>,
    /// Number of steps per image.
    steps: usize,
    /// Number of codes.
    codes: usize,
    /// Name of each class; empty if it has none.
    classes: Vec<String>,
    /// Whether it can edit photos.
    edits: bool,
    precision: &'static str,
    device: String,
    limits: Limits,
}

/// What a request may ask for.
#[derive(Debug, Serialize)]
struct Limits {
    images: usize,
    classes: usize,
    variants: usize,
    scale_images: usize,
    waiting: usize,
    photo_bytes: usize,
    photo_pixels: u64,
}

impl Facts {
    pub(super) fn new(source: &ModelSource, opened: &Opened, device: Device, kind: Kind) -> Self {
        let config = opened.config.clone();
        let side = opened.tokenizer_config.image_side();
        let device = match device {
            Device::Cuda(index) => format!("cuda:{index}"),
            _ => "cpu".to_owned(),
        };
        let precision = Precision::name_of(kind);
        let card = Card {
            program: concat!("var-model ", env!("CARGO_PKG_VERSION")),
            model: opened.model_path.display().to_string(),
            side,
            scales: config.schedule.sides().to_vec(),
            steps: config.steps(),
            codes: config.vocabulary,
            classes: (0..config.classes as i64).map(|label| opened.names.name(label).to_owned()).collect(),
            edits: config.order == Order::NextScale,
            precision,
            device: device.clone(),
            limits: Limits {
                images: MOST_IMAGES,
                classes: MOST_CLASSES,
                variants: MOST_VARIANTS,
                scale_images: MOST_SCALE_IMAGES,
                waiting: PLACES,
                photo_bytes: MOST_PHOTO_BYTES,
                photo_pixels: MOST_PHOTO_PIXELS,
            },
        };
        let flags = command::model_flags(source, precision, &device);
        Self { card, names: opened.names.clone(), config, side, flags, notes: opened.notes() }
    }
}
