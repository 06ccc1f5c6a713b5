//! What samples are compared with: features, statistics, or both.

use crate::features::store::FeatureFile;
use crate::statistics::file::StatisticsFile;

/// What features of samples are compared with.
#[derive(Debug, Clone, Copy)]
pub enum Against<'a> {
    /// Features of images.
    Features(&'a FeatureFile),
    /// Mean and covariance alone.
    Statistics(&'a StatisticsFile),
    /// Mean and covariance of a large set, and features of some of its images (ADM's reference batches). Fréchet
    /// distances use the statistics, all other metrics use the images.
    Batch {
        /// Mean and covariance.
        statistics: &'a StatisticsFile,
        /// Features of the images in the same file.
        features: &'a FeatureFile,
    },
}

impl<'a> Against<'a> {
    /// Features of images, if there are any.
    pub(super) fn features(self) -> Option<&'a FeatureFile> {
        match self {
            Self::Features(file) | Self::Batch { features: file, .. } => Some(file),
            Self::Statistics(_) => None,
        }
    }

    /// Mean and covariance from a file, if there are any.
    pub(super) fn statistics(self) -> Option<&'a StatisticsFile> {
        match self {
            Self::Statistics(file) | Self::Batch { statistics: file, .. } => Some(file),
            Self::Features(_) => None,
        }
    }
}
