//! Two sets of features to a report: every metric, with warnings and protocol.

use super::against::Against;
use super::agreement::{same_network, same_pixels, same_statistics};
use super::measures::Sets;
use super::metric::{Metric, Quantity};
use crate::error::{Failure, Result};
use crate::features::network::Identity;
use crate::features::store::FeatureFile;
use crate::inputs::sampler::Sampler;
use crate::metrics::bootstrap::Bootstrap;
use crate::protocol::{PROGRAM, Protocol, SetStamp};
use crate::report::{Figure, ScoreReport};
use crate::statistics::file::StatisticsFile;
use crate::warnings::{self, Side};

/// What to measure, and what is known about the samples besides their features.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Metrics; empty: `fd`, and `sfid` if the network has spatial features.
    pub metrics: Vec<Metric>,
    /// How the samples were made.
    pub sampler: Option<Sampler>,
    /// Whether the samples are reconstructions by a tokenizer.
    pub reconstructions: bool,
    /// Draws of the bootstrap intervals; `None`: no intervals.
    pub bootstrap: Option<Bootstrap>,
}

impl Request {
    /// The metrics, each once: the requested ones, or the default ones.
    pub(super) fn wanted(&self, network: &Identity, statistics: Option<&StatisticsFile>) -> Vec<Metric> {
        let mut wanted: Vec<Metric> = Vec::new();
        for &metric in &self.metrics {
            if !wanted.contains(&metric) {
                wanted.push(metric);
            }
        }
        if wanted.is_empty() {
            wanted.push(Metric::Fd);
            if network.spatial > 0 && statistics.is_none_or(|file| file.spatial.is_some()) {
                wanted.push(Metric::Sfid);
            }
        }
        wanted
    }
}

/// Scores the features `samples` against `reference`. If a metric fails, the report lists it under its failures and has
/// the numbers of the other metrics.
///
/// # Errors
/// When the reference has another network, preprocessing or pixel rule, a file is damaged, or libtorch fails.
pub fn score(samples: &FeatureFile, reference: Against<'_>, request: &Request) -> Result<ScoreReport> {
    let info = samples.info();
    let network = &info.network;
    let mut found = warnings::of_pictures(samples, Side::Samples)?;
    if let Some(file) = reference.features() {
        same_network(network, &file.info().network, &file.info().source)?;
        same_pixels(file.info().pixels, info.pixels, &file.info().source)?;
        found.extend(warnings::of_pictures(file, Side::Reference)?);
        found.extend(warnings::of_both(samples, file)?);
    }
    if let Some(file) = reference.statistics() {
        same_statistics(network, info.pixels, file)?;
        found.extend(warnings::of_statistics(network.width, file, request.reconstructions));
    }
    let (stamp, reference_images) = match reference {
        Against::Features(file) => (SetStamp::of_pictures(file)?, None),
        Against::Statistics(file) => (file.stamp(), None),
        Against::Batch { statistics, features } => {
            (statistics.stamp(), Some(SetStamp::of_pictures(features)?))
        }
    };
    found.extend(request.sampler.as_ref().and_then(warnings::of_sampler));
    let sets = Sets::new(samples, reference, request.bootstrap.as_ref());
    let (mut figures, mut failed) = (Vec::new(), Vec::new());
    for metric in request.wanted(network, reference.statistics()) {
        let measured = sets.measure(metric).and_then(|(figures, doubts)| {
            figures.iter().try_for_each(Figure::check_finite)?;
            Ok((figures, doubts))
        });
        match measured {
            Ok((more, doubts)) => {
                figures.extend(more);
                found.extend(doubts);
            }
            Err(e) => failed.push(Failure {
                metric: metric.name().to_owned(),
                reason: e.to_string(),
                exit_code: e.exit_code(),
            }),
        }
    }
    if request.reconstructions {
        // The field calls such a distance rFID; by the same rule, rFD is that of another network.
        let distances =
            figures.iter_mut().filter(|figure| [Quantity::Fd, Quantity::FdInf].contains(&figure.metric));
        distances.for_each(|figure| figure.name.insert(0, 'r'));
    }
    Ok(ScoreReport {
        metrics: figures,
        failed,
        warnings: warnings::each_once(found),
        protocol: Protocol {
            program: PROGRAM.into(),
            network: network.clone(),
            samples: SetStamp::of_pictures(samples)?,
            reference: stamp,
            reference_images,
            sampler: request.sampler.clone(),
            pixels: info.pixels.describe().to_owned(),
            rounding:
                "bytes as in the files; var-model sample rounds to nearest; features f32, statistics f64"
                    .to_owned(),
        },
    })
}
