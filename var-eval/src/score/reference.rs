//! What samples are compared with, opened.

use std::path::{Path, PathBuf};

use super::set::ImageSet;
use crate::error::Result;
use crate::inputs::pixels::PixelRule;
use crate::inputs::set::Selection;
use crate::published;
use crate::statistics::file::{StatisticsFile, is_statistics};

/// What samples are compared with: images, their features, or their mean and covariance.
#[derive(Debug)]
pub struct Reference {
    path: PathBuf,
    selection: Selection,
    pixels: Option<PixelRule>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Images(ImageSet),
    Statistics(Box<StatisticsFile>),
}

impl Reference {
    /// Opens a folder or archive of images, a file of features (`.h5`), a token file, statistics (`.npz` with `mu` and
    /// `sigma`), or a published reference by name: `imagenet-256` or `imagenet-512`, which is fetched once.
    ///
    /// # Errors
    /// When the file is missing or damaged, holds no images, or cannot be fetched.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_as(path, Selection::default(), None)
    }

    /// Opens the images of `selection` alone, with pixels read as `pixels` says (`None`: as stored).
    ///
    /// # Errors
    /// As [`Reference::open`], and when nothing is left by `selection`, or `path` holds features, which cannot be selected
    /// from or were made with other pixels.
    pub fn open_as(path: impl AsRef<Path>, selection: Selection, pixels: Option<PixelRule>) -> Result<Self> {
        let path = published::reference(path.as_ref())?;
        let content = if is_statistics(&path) {
            Content::Statistics(Box::new(StatisticsFile::read(&path)?))
        } else {
            Content::Images(ImageSet::open(&path, &selection, pixels)?)
        };
        Ok(Self { path, selection, pixels, content })
    }

    /// Mean and covariance from a file; `None` if the reference is images or features.
    pub fn statistics(&self) -> Option<&StatisticsFile> {
        match &self.content {
            Content::Images(_) => None,
            Content::Statistics(file) => Some(file),
        }
    }

    /// The images or features. Those of a file of statistics are opened only if they are `wanted`.
    pub(super) fn images(&self, wanted: bool) -> Result<Option<ImageSet>> {
        match &self.content {
            Content::Images(set) => Ok(Some(set.clone())),
            Content::Statistics(file) if file.images && wanted => {
                Ok(Some(ImageSet::open(&self.path, &self.selection, self.pixels)?))
            }
            Content::Statistics(_) => Ok(None),
        }
    }
}
