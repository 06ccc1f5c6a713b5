//! The protocol of scores: all that is needed to measure the same again.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::features::network::Identity;
use crate::features::store::FeatureFile;
use crate::inputs::pixels::PixelRule;

#[doc(inline)]
pub use crate::inputs::sampler::Sampler;

/// Name and version of this program.
pub(crate) const PROGRAM: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// How scores were measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Name and version of this program.
    pub program: String,
    /// The network, its weights and its preprocessing.
    pub network: Identity,
    /// What was scored.
    pub samples: SetStamp,
    /// What it was compared with.
    pub reference: SetStamp,
    /// How the samples were made; `None` if no file next to them says it.
    pub sampler: Option<Sampler>,
    /// The images of a reference batch, which also has statistics; `None` if no metric uses them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_images: Option<SetStamp>,
    /// How the pixels of the samples were read.
    pub pixels: String,
    /// How values were rounded.
    pub rounding: String,
}

/// One of the two sets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetStamp {
    /// Where it came from, as requested.
    pub source: PathBuf,
    /// Whether its images are known, or only their mean and covariance.
    pub kind: SetKind,
    /// How pixels were read; `None` if a file of statistics does not say.
    pub pixels: Option<PixelRule>,
    /// Number of images; `None` if a file of statistics does not say.
    pub n: Option<u64>,
    /// Number of images that could not be read; `n` does not count them.
    pub bad: usize,
    /// Width and height of the image with the fewest pixels.
    pub smallest: Option<(u32, u32)>,
    /// Width and height of the image with the most pixels.
    pub largest: Option<(u32, u32)>,
    /// Number of classes.
    pub classes: Option<usize>,
    /// Smallest and largest number of images of a class.
    pub per_class: Option<(u64, u64)>,
    /// SHA-256 over the pixels of all images, or of the file of statistics.
    pub sha256: String,
}

/// What is known about a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetKind {
    /// The features of each image.
    Pictures,
    /// Mean and covariance of the features.
    Statistics,
}

impl SetKind {
    /// The word in reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Pictures => "pictures",
            Self::Statistics => "statistics",
        }
    }
}

impl SetStamp {
    /// The stamp of the images whose features are in `file`.
    ///
    /// # Errors
    /// When the file is damaged.
    pub(crate) fn of_pictures(file: &FeatureFile) -> Result<Self> {
        let sizes = file.sizes()?;
        let all = || {
            let pairs = sizes.rows().into_iter();
            pairs.filter_map(|row| Some((*row.first()?, *row.get(1)?))).collect::<Vec<(u32, u32)>>()
        };
        let area = |&(width, height): &(u32, u32)| u64::from(width) * u64::from(height);
        let counts = file.class_counts()?;
        Ok(Self {
            source: file.info().source.clone().into(),
            kind: SetKind::Pictures,
            pixels: Some(file.info().pixels),
            n: Some(file.len() as u64),
            bad: file.bad(),
            smallest: all().into_iter().min_by_key(area),
            largest: all().into_iter().max_by_key(area),
            classes: Some(counts.len()),
            per_class: counts.iter().min().copied().zip(counts.iter().max().copied()),
            sha256: file.pictures_sha256().to_owned(),
        })
    }
}
