//! The stamp on every number: all that somebody needs to measure the same again.

use std::path::PathBuf;

use serde::Serialize;

use crate::error::Result;
use crate::features::network::Identity;
use crate::features::store::FeatureFile;
use crate::inputs::pixels::PixelRule;
use crate::inputs::sampler::Sampler;

/// Name and version of this program.
pub const PROGRAM: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// How scores were measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Protocol {
    /// Name and version of this program.
    pub program: String,
    /// The network, its weights and its preprocessing.
    pub network: Identity,
    /// What was scored.
    pub samples: SetStamp,
    /// What it was compared with.
    pub reference: SetStamp,
    /// How the samples were made; `None` where nothing beside them says it.
    pub sampler: Option<Sampler>,
    /// The images of a reference batch that has statistics too; `None` where no metric took them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_images: Option<SetStamp>,
    /// What the samples were read as.
    pub pixels: &'static str,
    /// What became of fractions of a byte on the way to the pictures.
    pub rounding: &'static str,
}

/// One of the two sets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SetStamp {
    /// As it was asked for.
    pub source: PathBuf,
    /// `pictures`, or `statistics` where only mean and covariance are known.
    pub kind: &'static str,
    /// How pixels were read; `None` where a file of statistics does not say.
    pub pixels: Option<PixelRule>,
    /// Pictures; `None` where a file of statistics does not say.
    pub n: Option<u64>,
    /// Pictures that could not be read and are not among them.
    pub bad: usize,
    /// Width and height of the picture with the fewest pixels.
    pub smallest: Option<(u32, u32)>,
    /// Width and height of the picture with the most pixels.
    pub largest: Option<(u32, u32)>,
    /// Classes.
    pub classes: Option<usize>,
    /// Fewest and most pictures of a class.
    pub per_class: Option<(u64, u64)>,
    /// SHA-256 over all pictures' pixels, or of the file of statistics.
    pub sha256: String,
}

impl SetStamp {
    /// The stamp of the pictures whose features are in `file`.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn of_pictures(file: &FeatureFile) -> Result<Self> {
        let sizes = file.sizes()?;
        let all = || {
            let pairs = sizes.rows().into_iter();
            pairs.filter_map(|row| Some((*row.first()?, *row.get(1)?))).collect::<Vec<(u32, u32)>>()
        };
        let area = |&(width, height): &(u32, u32)| u64::from(width) * u64::from(height);
        let counts = file.class_counts()?;
        Ok(Self {
            source: file.info().source.clone().into(),
            kind: "pictures",
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
