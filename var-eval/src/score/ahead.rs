//! Refuses metrics that cannot be computed from this network, reference and number of images, before the network runs.

use super::metric::Metric;
use crate::error::{Error, Result};
use crate::features::network::Identity;
use crate::features::store::FeatureFile;
use crate::inputs::set::PictureSet;
use crate::metrics::{inception_score, precision_recall};
use crate::statistics::file::StatisticsFile;

/// What is known about a set before its features are computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Outline {
    /// Number of images, including unreadable ones.
    pub count: u64,
    /// Names of the classes.
    pub class_names: Vec<String>,
    /// Number of images of each class.
    pub class_counts: Vec<u64>,
}

impl Outline {
    /// The outline of images.
    pub fn of_pictures(set: &PictureSet) -> Self {
        let (class_names, class_counts) = (set.class_names().to_vec(), set.class_counts());
        Self { count: set.len() as u64, class_names, class_counts }
    }

    /// The outline of features.
    ///
    /// # Errors
    /// When the file is damaged.
    pub fn of_features(file: &FeatureFile) -> Result<Self> {
        let (class_names, class_counts) = (file.info().class_names.clone(), file.class_counts()?);
        Ok(Self { count: file.len() as u64, class_names, class_counts })
    }
}

/// Refuses the metrics that cannot be computed, in one error.
///
/// # Errors
/// Names each with its reason.
pub(super) fn check(
    metrics: &[Metric],
    network: &Identity,
    samples: &Outline,
    reference: Option<&Outline>,
    statistics: Option<&StatisticsFile>,
) -> Result<()> {
    let found: Vec<String> = metrics
        .iter()
        .filter_map(|&metric| {
            let reason = obstacle(metric, network, samples, reference, statistics)?;
            Some(format!("metric {metric} {reason}"))
        })
        .collect();
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::config(format!("{}. Omit the metric, or give what it needs", found.join("; "))))
}

/// Why a metric cannot be computed.
fn obstacle(
    metric: Metric,
    network: &Identity,
    samples: &Outline,
    reference: Option<&Outline>,
    statistics: Option<&StatisticsFile>,
) -> Option<String> {
    let name = &network.network;
    let fewer = |what: &str, count: u64, least: u64| {
        (count < least).then(|| format!("needs at least {least} {what}, there are {count}"))
    };
    // For metrics that compare images with images.
    let both = |least: u64| match reference {
        None => {
            let path = statistics.map(|file| format!(" ({})", file.path.display())).unwrap_or_default();
            Some(format!("needs the reference's images or features, not their statistics alone{path}"))
        }
        Some(reference) => fewer("samples", samples.count, least)
            .or_else(|| fewer("images of the reference", reference.count, least)),
    };
    let distance = || {
        let theirs = reference.filter(|_| statistics.is_none());
        fewer("samples", samples.count, 2).or_else(|| fewer("images of the reference", theirs?.count, 2))
    };
    let logits = || (network.classes == 0).then(|| format!("needs logits, but network {name} has none"));
    match metric {
        Metric::Fd => distance(),
        Metric::Sfid if network.spatial == 0 => {
            Some(format!("needs spatial features, but network {name} has none"))
        }
        Metric::Sfid => match statistics {
            Some(file) if file.spatial.is_none() => Some(format!(
                "needs statistics of spatial features (mu_s, sigma_s), but {} has none",
                file.path.display()
            )),
            _ => distance(),
        },
        Metric::InceptionScore => {
            logits().or_else(|| fewer("samples", samples.count, inception_score::SPLITS as u64))
        }
        Metric::PrecisionRecall | Metric::DensityCoverage => both(precision_recall::NEIGHBOURS as u64 + 1),
        Metric::Kid => both(2),
        Metric::FdInfinity => fewer("samples", samples.count, 4).or_else(distance),
        Metric::PerClass => both(2).or_else(|| {
            let reference = reference?;
            let pairs = common_classes(&samples.class_names, &reference.class_names);
            let enough = |counts: &[u64], class: usize| counts.get(class).is_some_and(|&count| count >= 2);
            let any = pairs.iter().any(|&(ours, theirs)| {
                enough(&samples.class_counts, ours) && enough(&reference.class_counts, theirs)
            });
            (!any).then(|| "finds no class with two images in both sets".to_owned())
        }),
        Metric::Accuracy => logits().or_else(|| {
            let classes = samples.class_names.len();
            (classes != network.classes).then(|| {
                format!(
                    "needs a network for the classes of the samples: they have {classes}, {name} has {}",
                    network.classes
                )
            })
        }),
    }
}

/// The classes that both sides have, by their indices.
pub(super) fn common_classes(ours: &[String], theirs: &[String]) -> Vec<(usize, usize)> {
    // Samples may have numbers instead of names, in the same order.
    let numbered = ours.iter().enumerate().all(|(number, name)| *name == number.to_string());
    ours.iter()
        .enumerate()
        .filter_map(|(class, name)| {
            let other = theirs.iter().position(|other| other == name);
            Some((class, other.or((numbered && class < theirs.len()).then_some(class))?))
        })
        .collect()
}
