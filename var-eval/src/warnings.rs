//! What makes a score doubtful: a code for programs, and a sentence that says what to do.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::features::store::FeatureFile;
use crate::inputs::pixels::PixelRule;
use crate::inputs::sampler::Sampler;
use crate::protocol::SetStamp;
use crate::statistics::file::StatisticsFile;

/// With fewer images, distances are mostly bias.
pub const FEW: usize = 10_000;

/// Something that makes a score doubtful.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Its kind.
    pub code: Code,
    /// The set that it is about.
    pub side: Side,
    /// What was found, and what to do.
    pub message: String,
}

/// The kinds of warnings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Images that were compressed with loss (JPEG).
    JpegInputs,
    /// Fewer than [`FEW`] images.
    FewPictures,
    /// No more images than features: the covariance is singular.
    FewerPicturesThanFeatures,
    /// Images of different sizes.
    MixedSizes,
    /// Samples and reference of different sizes.
    DifferentSizes,
    /// Images that differ between the pixel rules.
    PixelRule,
    /// Classes that are not distributed evenly over the blocks of an Inception Score.
    OrderedClasses,
    /// A last block of an Inception Score that is smaller than the others.
    ShortLastBlock,
    /// Classes with different numbers of images.
    UnbalancedClasses,
    /// The same image several times.
    DuplicatedPictures,
    /// The same image in both sets.
    SharedPictures,
    /// Images that could not be read.
    BadPictures,
    /// Images that were sampled with more smoothing.
    MoreSmooth,
    /// A singular covariance in spite of enough images: features repeat or are constant.
    SingularCovariance,
    /// Statistics that do not say which network made them.
    UnstatedNetwork,
    /// A distance by the network that the tokenizer was trained with.
    TrainedOnNetwork,
    /// Reconstructions against ADM's reference batch, which has training images.
    ReconstructionsAgainstAdm,
}

/// One of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// What is scored.
    Samples,
    /// What the samples are compared with.
    Reference,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Samples => "samples",
            Self::Reference => "reference",
        })
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JpegInputs => "jpeg-inputs",
            Self::FewPictures => "few-pictures",
            Self::FewerPicturesThanFeatures => "fewer-pictures-than-features",
            Self::MixedSizes => "mixed-sizes",
            Self::DifferentSizes => "different-sizes",
            Self::PixelRule => "pixel-rule",
            Self::OrderedClasses => "ordered-classes",
            Self::ShortLastBlock => "short-last-block",
            Self::UnbalancedClasses => "unbalanced-classes",
            Self::DuplicatedPictures => "duplicated-pictures",
            Self::SharedPictures => "shared-pictures",
            Self::BadPictures => "bad-pictures",
            Self::MoreSmooth => "more-smooth",
            Self::TrainedOnNetwork => "trained-on-network",
            Self::SingularCovariance => "singular-covariance",
            Self::UnstatedNetwork => "unstated-network",
            Self::ReconstructionsAgainstAdm => "reconstructions-against-adm",
        })
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.code, self.side, self.message)
    }
}

/// Warnings about one set of images.
///
/// # Errors
/// When the file is damaged.
pub(crate) fn of_pictures(file: &FeatureFile, side: Side) -> Result<Vec<Warning>> {
    let mut found = of_count(file.len(), file.info().network.width, side);
    let mut warn = |code, message| found.push(Warning { code, side, message });
    if file.bad() > 0 {
        warn(
            Code::BadPictures,
            format!(
                "{} images could not be read and were skipped; repair them and start over, because the set changes",
                file.bad()
            ),
        );
    }
    let jpegs = file.traits().jpegs;
    if jpegs > 0 {
        warn(
            Code::JpegInputs,
            format!(
                "{jpegs} images are JPEG files, and distances measure the loss of their compression; use PNG or npz, or compare \
                 only with sets of the same quality"
            ),
        );
    }
    // The images of a token file are as its encoder saw them, under either rule.
    if let Some(differ) = file.traits().differ().filter(|_| file.info().pixels != PixelRule::Encoded) {
        warn(Code::PixelRule, pixel_rule(&differ, file.info().pixels));
    }
    let sizes = file.sizes()?;
    let different: HashSet<(u32, u32)> =
        sizes.rows().into_iter().filter_map(|row| Some((*row.first()?, *row.get(1)?))).collect();
    if different.len() > 1 {
        warn(
            Code::MixedSizes,
            format!(
                "images of {} different sizes, each resized by its own factor; crop them to one size first",
                different.len()
            ),
        );
    }
    let counts = file.class_counts()?;
    let (least, most) =
        (counts.iter().min().copied().unwrap_or(0), counts.iter().max().copied().unwrap_or(0));
    if most > least + 1 {
        warn(
            Code::UnbalancedClasses,
            format!(
                "{least} to {most} images per class, of {} classes; published scores have the same number for each",
                counts.len()
            ),
        );
    }
    let digests = file.digests()?;
    let mut seen: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for row in digests.rows() {
        *seen.entry(row.to_vec()).or_default() += 1;
    }
    let again = digests.nrows() - seen.len();
    if again > 0 {
        warn(
            Code::DuplicatedPictures,
            format!(
                "{again} images are copies of others; check whether all batches were sampled with the same seed"
            ),
        );
    }
    Ok(found)
}

/// Warnings about the number of images.
pub(crate) fn of_count(n: usize, width: usize, side: Side) -> Vec<Warning> {
    let mut found = Vec::new();
    if n < FEW {
        let message = format!(
            "{n} images, fewer than {FEW}: distances are too large; compare only with scores of the same number of images"
        );
        found.push(Warning { code: Code::FewPictures, side, message });
    }
    if n <= width {
        let message = format!(
            "{n} images for {width} features: the covariance is singular; use more than {width} images"
        );
        found.push(Warning { code: Code::FewerPicturesThanFeatures, side, message });
    }
    found
}

/// A warning if the covariance of `n` images with `width` features does not have full rank. Too few images have their own
/// warning.
pub(crate) fn of_rank(n: Option<u64>, width: usize, rank: usize, side: Side) -> Option<Warning> {
    let few = n.is_some_and(|n| n <= width as u64);
    (rank < width && !few).then(|| Warning {
        code: Code::SingularCovariance,
        side,
        message: format!(
            "the covariance of {width} features has rank {rank}: features repeat or are constant; check the images \
             (one image many times?) and the weights of the network"
        ),
    })
}

/// The message about images that differ between the pixel rules.
pub(crate) fn pixel_rule(differ: &str, rule: PixelRule) -> String {
    let (does, other) = match rule {
        PixelRule::Stored => {
            ("as stored, as the usual tools do", "the rule 'shown' reads them as a viewer shows them")
        }
        _ => ("as shown", "the usual tools read them as stored (rule 'stored')"),
    };
    format!("{differ}: read {does}; {other}")
}

/// Warnings about both sets together: different sizes, and images that are in both.
///
/// # Errors
/// When a file is damaged.
pub(crate) fn of_both(samples: &FeatureFile, reference: &FeatureFile) -> Result<Vec<Warning>> {
    let mut found = Vec::new();
    let [ours, theirs] = [samples, reference].map(SetStamp::of_pictures);
    let (ours, theirs) = (ours?, theirs?);
    if (ours.smallest, ours.largest) != (theirs.smallest, theirs.largest) {
        let size = |stamp: &SetStamp| match (stamp.smallest, stamp.largest) {
            (Some((w, h)), Some((wide, high))) if (w, h) == (wide, high) => format!("{w}×{h}"),
            (Some((w, h)), Some((wide, high))) => format!("{w}×{h} to {wide}×{high}"),
            _ => "of unknown size".to_owned(),
        };
        found.push(Warning {
            code: Code::DifferentSizes,
            side: Side::Samples,
            message: format!(
                "samples are {}, the reference {}: each is resized by its own factor; crop both to one size first",
                size(&ours),
                size(&theirs)
            ),
        });
    }
    let known: HashSet<Vec<u8>> = reference.digests()?.rows().into_iter().map(|row| row.to_vec()).collect();
    let shared = samples.digests()?.rows().into_iter().filter(|row| known.contains(&row.to_vec())).count();
    if shared > 0 {
        let message = format!(
            "{shared} samples are identical to images of the reference; check that it is the right folder"
        );
        found.push(Warning { code: Code::SharedPictures, side: Side::Samples, message });
    }
    Ok(found)
}

/// Warnings about an Inception Score in blocks of `block` rows. Row i has class `classes[i]`; `what` says where the classes
/// come from.
pub(crate) fn of_blocks(classes: &[u32], what: &str, block: usize) -> Vec<Warning> {
    let mut found = Vec::new();
    let (count, rest) = (classes.len(), classes.len() % block.max(1));
    let mut warn = |code, message| found.push(Warning { code, side: Side::Samples, message });
    if rest > 0 {
        warn(
            Code::ShortLastBlock,
            format!(
                "the last of ADM's blocks has {rest} of {block} images, but counts like the others: the Inception Score is \
                 too small; use a multiple of {block} images"
            ),
        );
    }
    if blocks_differ(classes, block) {
        warn(
            Code::OrderedClasses,
            format!(
                "{what} are not distributed evenly over ADM's blocks of {block} in file order: the Inception Score of \
                 {count} ordered images is far too small; shuffle the rows, as var-model sample does"
            ),
        );
    }
    found
}

/// Whether the classes of a block differ from those of all rows by more than chance, and by enough to change the score.
///
/// The squared contingency of a block with n rows, Σ (found − expected)² / expected / n, is twice the entropy of classes
/// that the block lacks. By chance it is (C − 1) / n.
fn blocks_differ(classes: &[u32], block: usize) -> bool {
    /// Standard deviations above chance.
    const BEYOND: f64 = 6.0;
    /// Excess that changes the score by 1%.
    const MATTERS: f64 = 0.02;
    let tally = |rows: &[u32]| {
        let mut counts: BTreeMap<u32, f64> = BTreeMap::new();
        rows.iter().for_each(|&class| *counts.entry(class).or_default() += 1.0);
        counts
    };
    let all = tally(classes);
    let (total, free) = (classes.len() as f64, all.len().saturating_sub(1) as f64);
    // The sum of few rows varies too much.
    classes.chunks(block.max(1)).filter(|rows| 2 * rows.len() >= block).any(|rows| {
        let (own, n) = (tally(rows), rows.len() as f64);
        let squares: f64 = all
            .iter()
            .map(|(class, count)| {
                let expected = n * count / total;
                (own.get(class).copied().unwrap_or(0.0) - expected).powi(2) / expected
            })
            .sum();
        squares > free + BEYOND * (2.0 * free).sqrt() && (squares - free) / n > MATTERS
    })
}

/// Warnings about a file of statistics, for features of `width`.
pub(crate) fn of_statistics(width: usize, file: &StatisticsFile, reconstructions: bool) -> Vec<Warning> {
    let mut found = Vec::new();
    let mut warn = |code, message| found.push(Warning { code, side: Side::Reference, message });
    if file.network.is_none() {
        warn(
            Code::UnstatedNetwork,
            "the file does not say which network, preprocessing and pixel rule made it; make sure that they are the same"
                .into(),
        );
    }
    if reconstructions && file.is_adm() {
        warn(
            Code::ReconstructionsAgainstAdm,
            "ADM's reference batch has training images. Score reconstructions against their originals, the validation images; \
             against the batch, the number is about three times as large"
                .into(),
        );
    }
    if let Some(n) = file.pooled.count {
        found.extend(of_count(usize::try_from(n).unwrap_or(usize::MAX), width, Side::Reference));
    }
    found
}

/// The same warnings, each once.
pub(crate) fn each_once(warnings: Vec<Warning>) -> Vec<Warning> {
    let mut found: Vec<Warning> = Vec::new();
    for warning in warnings {
        if !found.contains(&warning) {
            found.push(warning);
        }
    }
    found
}

/// A warning about the settings of sampling.
pub(crate) fn of_sampler(sampler: &Sampler) -> Option<Warning> {
    (sampler.more_smooth == Some(true)).then(|| Warning {
        code: Code::MoreSmooth,
        side: Side::Samples,
        message: "sampled with more_smooth, which is for viewing; sample again without it for scores".into(),
    })
}

/// A warning about a distance by the network `key`, which a tokenizer was trained with.
pub(crate) fn of_trained_network(key: &str) -> Warning {
    Warning {
        code: Code::TrainedOnNetwork,
        side: Side::Samples,
        message: format!(
            "the tokenizer was trained with {key}, so its distance by that network is too small; use another network to compare \
             tokenizers"
        ),
    }
}

#[cfg(test)]
mod tests {
    use var_tokenizer::random::Stream;

    use super::*;

    fn codes(classes: &[u32]) -> Vec<Code> {
        of_blocks(classes, "classes", 5000).into_iter().map(|warning| warning.code).collect()
    }

    #[test]
    fn classes_in_order_are_found_where_blocks_part_them_and_only_there() {
        let sorted: Vec<u32> = (0..10_000).map(|i| i / 10).collect();
        assert_eq!(codes(&sorted), [Code::OrderedClasses]);
        let shuffled: Vec<u32> =
            Stream::new("test", 0).permutation(10_000).into_iter().map(|i| i as u32 / 10).collect();
        assert_eq!(codes(&shuffled), []);
        let in_turn: Vec<u32> = (0..10_000).map(|i| i % 1000).collect();
        assert_eq!(codes(&in_turn), []);
        // One block has all rows, whatever their order.
        assert_eq!(codes(&sorted[..5000]), []);
        // Two classes, three to two in the first block.
        let leaning: Vec<u32> =
            (0..10_000).map(|i| u32::from(i % 5 < if i < 5000 { 3 } else { 2 })).collect();
        assert_eq!(codes(&leaning), [Code::OrderedClasses]);
    }

    #[test]
    fn a_short_last_block_is_found() {
        assert_eq!(codes(&vec![0; 10_001]), [Code::ShortLastBlock]);
        assert_eq!(codes(&vec![0; 4_000]), [Code::ShortLastBlock]);
        assert_eq!(codes(&vec![0; 10_000]), []);
    }
}
