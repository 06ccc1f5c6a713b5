//! What makes a score doubtful, each with a code for programs and a sentence that says what to do.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::error::Result;
use crate::features::store::FeatureFile;
use crate::inputs::sampler::Sampler;

/// Pictures below which distances are mostly bias.
pub const FEW: usize = 10_000;

/// A doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Which.
    pub code: Code,
    /// Which set it is about: `samples` or `reference`.
    pub side: Side,
    /// What was found and what to do.
    pub message: String,
}

/// The kinds of doubt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// Pictures that were compressed with loss.
    JpegInputs,
    /// Fewer than [`FEW`] pictures.
    FewPictures,
    /// No more pictures than features: the covariance is singular.
    FewerPicturesThanFeatures,
    /// Pictures of different sizes.
    MixedSizes,
    /// Classes with different numbers of pictures.
    UnbalancedClasses,
    /// The same picture several times.
    DuplicatedPictures,
    /// The same picture on both sides.
    SharedPictures,
    /// Pictures that could not be read.
    BadPictures,
    /// Pictures that were smoothed for the eye.
    MoreSmooth,
    /// A covariance that is singular although there are pictures enough: repeated or constant features.
    SingularCovariance,
    /// Statistics that do not say which network made them.
    UnstatedNetwork,
    /// A tokenizer's reconstructions against the reference batch of generated pictures.
    ReconstructionsAgainstAdm,
}

/// One of the two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// What is scored.
    Samples,
    /// What it is compared with.
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
            Self::UnbalancedClasses => "unbalanced-classes",
            Self::DuplicatedPictures => "duplicated-pictures",
            Self::SharedPictures => "shared-pictures",
            Self::BadPictures => "bad-pictures",
            Self::MoreSmooth => "more-smooth",
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

/// What is doubtful about a set of pictures by itself.
///
/// # Errors
/// When the file is damaged.
pub fn of_pictures(file: &FeatureFile, side: Side) -> Result<Vec<Warning>> {
    let mut found = of_count(file.len(), file.info().network.width, side);
    let mut warn = |code, message| found.push(Warning { code, side, message });
    if file.bad() > 0 {
        warn(
            Code::BadPictures,
            format!(
                "{} pictures could not be read and are left out; mend them, for the set is another one",
                file.bad()
            ),
        );
    }
    let jpegs = file.info().jpegs;
    if jpegs > 0 {
        warn(
            Code::JpegInputs,
            format!(
                "{jpegs} pictures are JPEG files, whose losses distances see; write PNG or npz, or compare only \
                     with sets of the same quality"
            ),
        );
    }
    let sizes = file.sizes()?;
    let different: HashSet<(u32, u32)> =
        sizes.rows().into_iter().filter_map(|row| Some((*row.first()?, *row.get(1)?))).collect();
    if different.len() > 1 {
        warn(
            Code::MixedSizes,
            format!(
                "pictures of {} different sizes, each resized by its own factor; crop them alike first",
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
                "{least} to {most} pictures a class of {}; published scores have equally many of each",
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
            format!("{again} pictures are copies of others; were all batches sampled with the same seed?"),
        );
    }
    Ok(found)
}

/// What is doubtful about a number of pictures.
pub fn of_count(n: usize, width: usize, side: Side) -> Vec<Warning> {
    let mut found = Vec::new();
    if n < FEW {
        let message = format!(
            "{n} pictures, below {FEW}: distances come out too large; compare only with scores of as many"
        );
        found.push(Warning { code: Code::FewPictures, side, message });
    }
    if n <= width {
        let message =
            format!("{n} pictures for {width} features: the covariance is singular; take more than {width}");
        found.push(Warning { code: Code::FewerPicturesThanFeatures, side, message });
    }
    found
}

/// What is doubtful about a covariance of that rank, of `n` pictures with `width` features. Too few pictures are
/// another warning's business.
pub fn of_rank(n: Option<u64>, width: usize, rank: usize, side: Side) -> Option<Warning> {
    let few = n.is_some_and(|n| n <= width as u64);
    (rank < width && !few).then(|| Warning {
        code: Code::SingularCovariance,
        side,
        message: format!(
            "the covariance of {width} features has rank {rank}: features repeat or never change; look at the pictures \
             (is one drawn again and again?) and at the network's weights"
        ),
    })
}

/// What is doubtful about the two sets together: pictures that are in both.
///
/// # Errors
/// When a file is damaged.
pub fn of_both(samples: &FeatureFile, reference: &FeatureFile) -> Result<Option<Warning>> {
    let known: HashSet<Vec<u8>> = reference.digests()?.rows().into_iter().map(|row| row.to_vec()).collect();
    let shared = samples.digests()?.rows().into_iter().filter(|row| known.contains(&row.to_vec())).count();
    Ok((shared > 0).then(|| Warning {
        code: Code::SharedPictures,
        side: Side::Samples,
        message: format!(
            "{shared} samples are pictures of the reference to the byte; is it the right folder?"
        ),
    }))
}

/// What is doubtful about the way of sampling.
pub fn of_sampler(sampler: &Sampler) -> Option<Warning> {
    (sampler.more_smooth == Some(true)).then(|| Warning {
        code: Code::MoreSmooth,
        side: Side::Samples,
        message: "sampled with --more-smooth, which is for the eye; sample again without it for scores"
            .into(),
    })
}
