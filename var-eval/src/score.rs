//! Two sets of features to scores, with warnings and protocol.

use std::fmt;
use std::str::FromStr;

use ndarray::Axis;
use var_tokenizer::nearest::nearest;

use crate::error::{Error, Result};
use crate::features::network::Identity;
use crate::features::store::FeatureFile;
use crate::inputs::sampler::Sampler;
use crate::metrics::frechet;
use crate::protocol::{PROGRAM, Protocol, SetStamp};
use crate::report::{Figure, Report, distance_name};
use crate::statistics::Gaussian;
use crate::statistics::file::StatisticsFile;
use crate::warnings::{self, Code, Side, Warning};

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// Fréchet distance of the pooled features.
    Fd,
    /// Fréchet distance of the spatial features.
    Sfid,
    /// Fréchet distance of each class.
    PerClass,
    /// Share of samples whose class has the largest logit, and one of the five largest.
    Accuracy,
}

impl Metric {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::Fd, Self::Sfid, Self::PerClass, Self::Accuracy];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fd => "fd",
            Self::Sfid => "sfid",
            Self::PerClass => "per-class",
            Self::Accuracy => "accuracy",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|metric| metric.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name);
            let meant =
                nearest(text, names).map(|name| format!("; did you mean {name}?")).unwrap_or_default();
            Error::config(format!("unknown metric '{text}': there are {}{meant}", names.join(", ")))
        })
    }
}

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
    let mut figures = Vec::new();
    for metric in wanted {
        figures.extend(measure(metric, samples, reference)?);
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

fn measure(metric: Metric, samples: &FeatureFile, reference: &Reference) -> Result<Vec<Figure>> {
    let network = &samples.info().network;
    match metric {
        Metric::Fd => {
            let theirs = match reference {
                Reference::Features(file) => &file.statistics()?,
                Reference::Statistics(file) => &file.pooled,
            };
            Ok(vec![frechet_figure("fd", distance_name(network), theirs, &samples.statistics()?)?])
        }
        Metric::Sfid => {
            let theirs = match reference {
                Reference::Features(file) => file.spatial_statistics()?,
                Reference::Statistics(file) => file.spatial.clone(),
            };
            let (Some(theirs), Some(ours)) = (theirs, samples.spatial_statistics()?) else {
                return Err(Error::config(format!(
                    "metric sfid needs spatial features: network {} or the reference has none; leave it away",
                    network.network
                )));
            };
            let name = format!("s{}", distance_name(network));
            Ok(vec![frechet_figure("sfid", name, &theirs, &ours)?])
        }
        Metric::PerClass => match reference {
            Reference::Features(reference) => per_class(samples, reference),
            Reference::Statistics(_) => Err(Error::config(
                "metric per-class needs the reference's pictures, not their statistics alone",
            )),
        },
        Metric::Accuracy => accuracy(samples),
    }
}

fn frechet_figure(metric: &'static str, name: String, theirs: &Gaussian, ours: &Gaussian) -> Result<Figure> {
    Ok(Figure {
        metric,
        name,
        value: frechet::distance(theirs, ours)?.distance,
        class: None,
        n: (ours.count, theirs.count),
        convention: "Fréchet distance of Gaussians, covariance with N − 1",
    })
}

/// The distance of each class that both sets have, by its name.
fn per_class(samples: &FeatureFile, reference: &FeatureFile) -> Result<Vec<Figure>> {
    let (ours, theirs) = (samples.features()?, reference.features()?);
    let (our_labels, their_labels) = (samples.labels()?, reference.labels()?);
    let rows = |labels: &[u32], class: usize| -> Vec<usize> {
        labels.iter().enumerate().filter(|&(_, &label)| label as usize == class).map(|(row, _)| row).collect()
    };
    let (names, known) = (&samples.info().class_names, &reference.info().class_names);
    // Samples know numbers where the reference knows names, in the same order.
    let numbered = names.iter().enumerate().all(|(number, name)| *name == number.to_string());
    let mut figures = Vec::new();
    for (class, name) in names.iter().enumerate() {
        let other = known
            .iter()
            .position(|other| other == name)
            .or((numbered && class < known.len()).then_some(class));
        let Some(other) = other else { continue };
        let (our_rows, their_rows) = (rows(&our_labels, class), rows(&their_labels, other));
        if our_rows.len() < 2 || their_rows.len() < 2 {
            continue;
        }
        let ours = Gaussian::of(ours.select(Axis(0), &our_rows).view())?;
        let theirs = Gaussian::of(theirs.select(Axis(0), &their_rows).view())?;
        let mut figure = frechet_figure("per-class", distance_name(&samples.info().network), &theirs, &ours)?;
        figure.class = known.get(other).cloned();
        figures.push(figure);
    }
    if figures.is_empty() {
        return Err(Error::config(
            "metric per-class: no class has two pictures on both sides; leave it away",
        ));
    }
    Ok(figures)
}

/// Top-1 and top-5 accuracy of the network's classes against the samples' labels.
fn accuracy(samples: &FeatureFile) -> Result<Vec<Figure>> {
    let Some(logits) = samples.logits()? else {
        let network = &samples.info().network.network;
        return Err(Error::config(format!("metric accuracy needs logits: network {network} gives none")));
    };
    let labels = samples.labels()?;
    if let Some(label) = labels.iter().find(|&&label| label as usize >= logits.ncols()) {
        return Err(Error::config(format!(
            "metric accuracy: label {label}, but the network has {} classes; its classes must be those of the samples",
            logits.ncols()
        )));
    }
    let within = |most: usize| {
        let hits = logits.rows().into_iter().zip(&labels).filter(|(row, label)| {
            let own = row.get(**label as usize).copied().unwrap_or(f32::NEG_INFINITY);
            row.iter().filter(|&&x| x > own).count() < most
        });
        hits.count() as f64 / labels.len().max(1) as f64
    };
    let network = &samples.info().network.network;
    Ok([(1, "top-1"), (5, "top-5")]
        .into_iter()
        .map(|(most, name)| Figure {
            metric: "accuracy",
            name: format!("{name} accuracy ({network})"),
            value: within(most),
            class: None,
            n: (Some(samples.len() as u64), None),
            convention: "share of samples whose label is among the largest logits, no bias where the network leaves it out",
        })
        .collect())
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
