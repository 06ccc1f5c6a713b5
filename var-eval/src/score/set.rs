//! One of the two sets, opened: images, or their features.

use std::path::Path;
use std::sync::Arc;

use super::agreement::same_pixels;
use super::ahead::Outline;
use crate::error::{Error, Result};
use crate::features::store::FeatureFile;
use crate::inputs::h5::{H5, is_h5, open_h5};
use crate::inputs::pixels::PixelRule;
use crate::inputs::set::{PictureSet, Selection};

/// A set of images, opened. It is cheap to clone.
#[derive(Debug, Clone)]
pub enum ImageSet {
    /// Images, whose features are not computed yet.
    Pictures(Arc<PictureSet>),
    /// Features, computed by an earlier call.
    Features(Arc<FeatureFile>),
}

impl ImageSet {
    /// Opens `path`: a file of features, a token file (which stands for its images), or what [`PictureSet::open`] takes.
    /// `pixels` is the rule that was asked for.
    pub(super) fn open(path: &Path, selection: &Selection, pixels: Option<PixelRule>) -> Result<Self> {
        if is_h5(path) {
            return match open_h5(path)? {
                H5::Tokens(tokens) => {
                    Ok(Self::Pictures(Arc::new(PictureSet::of_tokens(&tokens, selection)?)))
                }
                H5::Features(_) if *selection != Selection::default() => Err(Error::file(
                    path,
                    "holds features. They are used as a whole; classes, limits and splits select from images only",
                )),
                H5::Features(file) => {
                    if let Some(pixels) = pixels {
                        same_pixels(file.info().pixels, pixels, &path.display().to_string())?;
                    }
                    Ok(Self::Features(Arc::from(file)))
                }
            };
        }
        let rule = pixels.unwrap_or_default();
        Ok(Self::Pictures(Arc::new(PictureSet::open(path, selection, rule)?)))
    }

    /// The images; `None` for features.
    pub fn pictures(&self) -> Option<&PictureSet> {
        match self {
            Self::Pictures(set) => Some(set),
            Self::Features(_) => None,
        }
    }

    pub(super) fn outline(&self) -> Result<Outline> {
        match self {
            Self::Pictures(set) => Ok(Outline::of_pictures(set)),
            Self::Features(file) => Outline::of_features(file),
        }
    }

    pub(super) fn rule(&self) -> PixelRule {
        match self {
            Self::Pictures(set) => set.rule(),
            Self::Features(file) => file.info().pixels,
        }
    }
}
