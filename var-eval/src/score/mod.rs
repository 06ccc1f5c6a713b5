//! Two sets of features to scores, with warnings and protocol.

mod measures;
mod metric;

use crate::error::{Error, Result};
use crate::features::network::Identity;
use crate::features::store::FeatureFile;
use crate::inputs::sampler::Sampler;
use crate::metrics::bootstrap::Bootstrap;
use crate::protocol::{PROGRAM, Protocol, SetStamp};
use crate::report::Report;
use crate::statistics::file::StatisticsFile;
use crate::warnings::{self, Code, Side, Warning};

pub use metric::Metric;

/// What samples are compared with.
#[derive(Debug)]
pub enum Reference {
    /// Features of pictures.
    Features(FeatureFile),
    /// Mean and covariance alone.
    Statistics(StatisticsFile),
}

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

/// Scores `samples` against `reference`.
///
/// # Errors
/// When the reference was made by another network or with another preprocessing, a metric that was asked for
/// cannot be computed from what is there, a file is damaged, or libtorch fails.
pub fn score(samples: &FeatureFile, reference: &Reference, request: &Request) -> Result<Report> {
    let network = &samples.info().network;
    let mut found = warnings::of_pictures(samples, Side::Samples)?;
    let stamp = match reference {
        Reference::Features(file) => {
            same_network(network, &file.info().network, &file.info().source)?;
            found.extend(warnings::of_pictures(file, Side::Reference)?);
            found.extend(warnings::of_both(samples, file)?);
            SetStamp::of_pictures(file)?
        }
        Reference::Statistics(file) => {
            found.extend(of_statistics(network, file, request.reconstructions)?);
            file.stamp()
        }
    };
    found.extend(request.sampler.as_ref().and_then(warnings::of_sampler));
    let mut wanted = request.metrics.clone();
    if wanted.is_empty() {
        wanted.push(Metric::Fd);
        let spatial = match reference {
            Reference::Features(_) => network.spatial > 0,
            Reference::Statistics(file) => network.spatial > 0 && file.spatial.is_some(),
        };
        if spatial {
            wanted.push(Metric::Sfid);
        }
    }
    let sets = measures::Sets::new(samples, reference, request.bootstrap.as_ref());
    let mut figures = Vec::new();
    for metric in wanted {
        let (more, doubts) = sets.measure(metric)?;
        figures.extend(more);
        found.extend(doubts);
    }
    if request.reconstructions {
        // As the field calls them: rFID, and by the same rule rFD of another network.
        let distances = figures.iter_mut().filter(|figure| ["fd", "fd-inf"].contains(&figure.metric));
        distances.for_each(|figure| figure.name.insert(0, 'r'));
    }
    Ok(Report {
        event: "done",
        metrics: figures,
        warnings: found,
        protocol: Protocol {
            program: PROGRAM.into(),
            network: network.clone(),
            samples: SetStamp::of_pictures(samples)?,
            reference: stamp,
            sampler: request.sampler.clone(),
            pixels: "8-bit RGB, as stored",
            rounding: "bytes as in the files; var-model sample rounds to nearest; features f32, statistics f64",
        },
    })
}

fn same_network(samples: &Identity, reference: &Identity, source: &str) -> Result<()> {
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

/// Checks a file of statistics against the network, and what is doubtful about it.
fn of_statistics(network: &Identity, file: &StatisticsFile, reconstructions: bool) -> Result<Vec<Warning>> {
    let mut found = Vec::new();
    let mut warn = |code, message| found.push(Warning { code, side: Side::Reference, message });
    match &file.network {
        Some(theirs) => same_network(network, theirs, &file.path.display().to_string())?,
        None => warn(
            Code::UnstatedNetwork,
            "the file does not say which network and preprocessing made it; make sure that they are the same"
                .into(),
        ),
    }
    if file.pooled.width() != network.width {
        return Err(Error::file(
            &file.path,
            format!(
                "statistics of {} features, but {} has {}: they are of another network; name that with --network",
                file.pooled.width(),
                network.network,
                network.width
            ),
        ));
    }
    if reconstructions && file.is_adm() {
        warn(
            Code::ReconstructionsAgainstAdm,
            "reconstructions are scored against the validation pictures they came from; against ADM's reference batch, \
             which is of training pictures, the number is about three times as large"
                .into(),
        );
    }
    if let Some(n) = file.pooled.count {
        found.extend(warnings::of_count(
            usize::try_from(n).unwrap_or(usize::MAX),
            network.width,
            Side::Reference,
        ));
    }
    Ok(found)
}
