//! What samples are compared with.

use crate::error::{Error, Result};
use crate::features::network::Identity;
use crate::features::store::FeatureFile;
use crate::inputs::pixels::PixelRule;
use crate::statistics::file::StatisticsFile;

/// What samples are compared with.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a program holds one")]
pub enum Reference {
    /// Features of pictures.
    Features(FeatureFile),
    /// Mean and covariance alone.
    Statistics(StatisticsFile),
    /// Mean and covariance of a large set, and features of some pictures: ADM's reference batches. Fréchet distances
    /// take the statistics, everything else takes the pictures.
    Batch {
        /// Mean and covariance.
        statistics: StatisticsFile,
        /// Features of the pictures in the same file.
        features: FeatureFile,
    },
}

impl Reference {
    /// Features of pictures, where there are any.
    pub fn features(&self) -> Option<&FeatureFile> {
        match self {
            Self::Features(file) | Self::Batch { features: file, .. } => Some(file),
            Self::Statistics(_) => None,
        }
    }

    /// Mean and covariance that a file states, where one does.
    pub fn statistics(&self) -> Option<&StatisticsFile> {
        match self {
            Self::Statistics(file) | Self::Batch { statistics: file, .. } => Some(file),
            Self::Features(_) => None,
        }
    }
}

/// Refuses features of another network, other weights or another preprocessing than the samples'.
///
/// # Errors
/// Names the file or source, and both.
pub fn same_network(samples: &Identity, reference: &Identity, source: &str) -> Result<()> {
    if samples == reference {
        return Ok(());
    }
    let of = |x: &Identity| {
        format!(
            "{} ({}…) with preprocessing {}",
            x.network,
            x.weights_sha256.chars().take(12).collect::<String>(),
            x.preprocessing
        )
    };
    Err(Error::file(
        source,
        format!(
            "reference features were made by {}, the samples' by {}; such numbers do not compare: extract both alike",
            of(reference),
            of(samples)
        ),
    ))
}

/// Refuses features of pixels that were read by another rule: `wanted` says how this run, or the other set, has them.
///
/// # Errors
/// Names the file and both rules.
pub fn same_pixels(found: PixelRule, wanted: PixelRule, source: &str) -> Result<()> {
    if found.compares_with(wanted) {
        return Ok(());
    }
    Err(Error::file(
        source,
        format!(
            "made from pixels as {found}, compared with pixels as {wanted}; pass --pixels {found}, or extract its features \
             again with --pixels {wanted}"
        ),
    ))
}

/// Refuses statistics of another network, by what the file says and by their widths.
///
/// # Errors
/// Names the file and both networks.
pub fn same_statistics(network: &Identity, pixels: PixelRule, file: &StatisticsFile) -> Result<()> {
    if let Some(theirs) = &file.network {
        same_network(network, theirs, &file.path.display().to_string())?;
    }
    if let Some(theirs) = file.pixels {
        same_pixels(theirs, pixels, &file.path.display().to_string())?;
    }
    let spatial = file.spatial.as_ref().filter(|_| network.spatial > 0);
    let widths =
        [("features", Some(&file.pooled), network.width), ("spatial features", spatial, network.spatial)];
    for (what, gaussian, expected) in widths {
        let Some(found) = gaussian.map(|gaussian| gaussian.width()).filter(|&width| width != expected) else {
            continue;
        };
        return Err(Error::file(
            &file.path,
            format!(
                "statistics of {found} {what}, but {} has {expected}: they are of another network; name that with \
                 --network",
                network.network
            ),
        ));
    }
    Ok(())
}
