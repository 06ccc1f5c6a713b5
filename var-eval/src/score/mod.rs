//! Two sets of features to scores, with warnings and protocol.

pub mod ahead;
mod measures;
mod metric;
mod reference;

use crate::error::{Error, Failure, Result};
use crate::features::network::Identity;
use crate::features::store::FeatureFile;
use crate::inputs::sampler::Sampler;
use crate::metrics::bootstrap::Bootstrap;
use crate::protocol::{PROGRAM, Protocol, SetStamp};
use crate::report::{Figure, Report};
use crate::statistics::file::StatisticsFile;
use crate::warnings::{self, Side};

pub use metric::Metric;
pub use reference::{Reference, same_network, same_pixels, same_statistics};

/// What to measure, and what is known beside the features.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Metrics; empty: `fd`, and `sfid` where the network gives spatial features.
    pub metrics: Vec<Metric>,
    /// How the samples were made.
    pub sampler: Option<Sampler>,
    /// Whether the samples are a tokenizer's reconstructions.
    pub reconstructions: bool,
    /// Draws of the bootstrap intervals, where they make sense; `None`: no intervals.
    pub bootstrap: Option<Bootstrap>,
}

impl Request {
    /// The metrics, each once: those asked for, or the usual ones.
    pub fn wanted(&self, network: &Identity, statistics: Option<&StatisticsFile>) -> Vec<Metric> {
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

/// Scores `samples` against `reference`. A metric that fails does not take the others with it: it stands among the
/// report's failures.
///
/// # Errors
/// When the reference was made by another network, with another preprocessing or from pixels read by another rule, a
/// file is damaged, or libtorch fails.
pub fn score(samples: &FeatureFile, reference: &Reference, request: &Request) -> Result<Report> {
    let info = samples.info();
    let network = &info.network;
    let mut found = warnings::of_pictures(samples, Side::Samples)?;
    let mut images = None;
    if let Some(file) = reference.features() {
        same_network(network, &file.info().network, &file.info().source)?;
        same_pixels(file.info().pixels, info.pixels, &file.info().source)?;
        found.extend(warnings::of_pictures(file, Side::Reference)?);
        found.extend(warnings::of_both(samples, file)?);
        images = Some(SetStamp::of_pictures(file)?);
    }
    let stamp = match reference.statistics() {
        Some(file) => {
            same_statistics(network, info.pixels, file)?;
            found.extend(warnings::of_statistics(network.width, file, request.reconstructions));
            file.stamp()
        }
        None => images.take().ok_or_else(|| Error::measure("a reference without features and statistics"))?,
    };
    found.extend(request.sampler.as_ref().and_then(warnings::of_sampler));
    let sets = measures::Sets::new(samples, reference, request.bootstrap.as_ref());
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
                metric: metric.name(),
                reason: e.to_string(),
                exit_code: e.exit_code(),
            }),
        }
    }
    if request.reconstructions {
        // As the field calls them: rFID, and by the same rule rFD of another network.
        let distances = figures.iter_mut().filter(|figure| ["fd", "fd-inf"].contains(&figure.metric));
        distances.for_each(|figure| figure.name.insert(0, 'r'));
    }
    Ok(Report {
        event: "done",
        metrics: figures,
        failed,
        warnings: warnings::each_once(found),
        protocol: Protocol {
            program: PROGRAM.into(),
            network: network.clone(),
            samples: SetStamp::of_pictures(samples)?,
            reference: stamp,
            reference_images: images,
            sampler: request.sampler.clone(),
            pixels: info.pixels.describe(),
            rounding: "bytes as in the files; var-model sample rounds to nearest; features f32, statistics f64",
        },
    })
}
