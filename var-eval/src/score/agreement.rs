//! Refuses features that do not compare: of another network, preprocessing or pixel rule.

use crate::error::{Error, Result};
use crate::features::network::Identity;
use crate::inputs::pixels::PixelRule;
use crate::statistics::file::StatisticsFile;

/// Refuses features of another network, other weights or another preprocessing than those of the samples.
///
/// # Errors
/// Names the file or source, and both networks.
pub(super) fn same_network(samples: &Identity, reference: &Identity, source: &str) -> Result<()> {
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
            "the reference was made with {}, the samples with {}: they do not compare; compute both features with the same network",
            of(reference),
            of(samples)
        ),
    ))
}

/// Refuses features of pixels that were read by another rule than `wanted`.
///
/// # Errors
/// Names the file and both rules.
pub(super) fn same_pixels(found: PixelRule, wanted: PixelRule, source: &str) -> Result<()> {
    if found.compares_with(wanted) {
        return Ok(());
    }
    Err(Error::file(
        source,
        format!(
            "made from pixels as {found}, but the other set has pixels as {wanted}; read the other set as {found}, or compute \
             these features again as {wanted}"
        ),
    ))
}

/// Refuses statistics of another network, by the entries of the file and by their widths.
///
/// # Errors
/// Names the file and both networks.
pub(super) fn same_statistics(network: &Identity, pixels: PixelRule, file: &StatisticsFile) -> Result<()> {
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
                "statistics of {found} {what}, but {} has {expected}: they are from another network; choose that network",
                network.network
            ),
        ));
    }
    Ok(())
}
