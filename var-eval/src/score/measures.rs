//! Each metric on two sets of features: which numbers it gives, under which names, by which convention.

use ndarray::{Array2, Axis};

use super::{Metric, Reference};
use crate::error::{Error, Result};
use crate::features::store::FeatureFile;
use crate::metrics::bootstrap::{Bootstrap, Interval};
use crate::metrics::{fd_infinity, frechet, inception_score, kid, precision_recall};
use crate::report::{Figure, distance_name, named};
use crate::statistics::Gaussian;

/// Seed of the subsets of FD∞.
const SUBSET_SEED: u64 = 0;

/// The numbers of `metric`.
pub(super) fn measure(
    metric: Metric,
    samples: &FeatureFile,
    reference: &Reference,
    bootstrap: Option<&Bootstrap>,
) -> Result<Vec<Figure>> {
    let network = &samples.info().network;
    match metric {
        Metric::Fd => {
            let theirs = pooled(reference)?;
            let found = distance("fd", distance_name(network), &theirs, &samples.statistics()?)?;
            let Some(bootstrap) = bootstrap else { return Ok(vec![found]) };
            let interval = resampled(&samples.features()?, &theirs, found.value, bootstrap)?;
            Ok(vec![Figure { interval: Some(interval), ..found }])
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
            Ok(vec![distance("sfid", format!("s{}", distance_name(network)), &theirs, &ours)?])
        }
        Metric::InceptionScore => scores(samples),
        Metric::PrecisionRecall => neighbours(samples, pictures(metric, reference)?, bootstrap, true),
        Metric::DensityCoverage => neighbours(samples, pictures(metric, reference)?, bootstrap, false),
        Metric::Kid => kernel(samples, pictures(metric, reference)?),
        Metric::FdInfinity => extrapolated(samples, &pooled(reference)?),
        Metric::PerClass => per_class(samples, pictures(metric, reference)?),
        Metric::Accuracy => accuracy(samples, bootstrap),
    }
}

/// Mean and covariance of the reference's pooled features.
fn pooled(reference: &Reference) -> Result<Gaussian> {
    match reference {
        Reference::Features(file) => file.statistics(),
        Reference::Statistics(file) => Ok(file.pooled.clone()),
    }
}

/// The reference's features, which some metrics cannot do without.
fn pictures(metric: Metric, reference: &Reference) -> Result<&FeatureFile> {
    match reference {
        Reference::Features(file) => Ok(file),
        Reference::Statistics(file) => Err(Error::file(
            &file.path,
            format!("metric {metric} needs the reference's pictures or features, not their statistics alone"),
        )),
    }
}

fn distance(metric: &'static str, name: String, theirs: &Gaussian, ours: &Gaussian) -> Result<Figure> {
    let found = frechet::distance(theirs, ours)?;
    Ok(Figure {
        n: (ours.count, theirs.count),
        ..Figure::new(metric, name, found.distance, "Fréchet distance of Gaussians, covariance with N − 1")
    })
}

/// The interval of the distance when samples are drawn again. Repeated pictures make covariances more singular and
/// every draw's distance larger, so the draws are moved until their mean is the distance itself: the interval says
/// how far the choice of pictures scatters it, and nothing about its bias, which FD∞ takes away.
fn resampled(
    samples: &Array2<f32>,
    theirs: &Gaussian,
    distance: f64,
    bootstrap: &Bootstrap,
) -> Result<Interval> {
    let mut sum = 0.0;
    let found = bootstrap.of(samples.nrows(), |rows| {
        let ours = Gaussian::of(samples.select(Axis(0), rows).view())?;
        let drawn = frechet::distance(theirs, &ours)?.distance;
        sum += drawn;
        Ok(drawn)
    })?;
    Ok(found.moved(distance - sum / found.draws as f64))
}

/// The Inception Score in both conventions.
fn scores(samples: &FeatureFile) -> Result<Vec<Figure>> {
    let network = &samples.info().network;
    let Some(logits) = samples.logits()? else {
        return Err(Error::config(format!("metric is needs logits: network {} gives none", network.network)));
    };
    let n = (Some(samples.len() as u64), None);
    let splits = inception_score::SPLITS;
    let shuffled =
        inception_score::inception_score(logits.view(), splits, &inception_score::Order::Shuffled)?;
    let blocks = inception_score::adm(logits.view())?;
    let name = named("Inception Score", "IS", network);
    Ok(vec![
        Figure {
            n,
            deviation: Some(shuffled.deviation),
            ..Figure::new(
                "is",
                name.clone(),
                shuffled.mean,
                "torch-fidelity: rows shuffled by RandomState(2020), 10 splits, mean and deviation",
            )
        },
        Figure { n, ..Figure::new("is-adm", name, blocks.mean, "ADM: blocks of 5000 in file order, mean") },
    ])
}

/// Precision and recall, or density and coverage.
fn neighbours(
    samples: &FeatureFile,
    reference: &FeatureFile,
    bootstrap: Option<&Bootstrap>,
    improved: bool,
) -> Result<Vec<Figure>> {
    let (ours, theirs) = (samples.features()?, reference.features()?);
    let hits = precision_recall::hits(theirs.view(), ours.view(), precision_recall::NEIGHBOURS)?;
    let found = hits.comparison();
    let network = &samples.info().network.network;
    let n = (Some(samples.len() as u64), Some(reference.len() as u64));
    let figure = |metric, name: &str, value, convention, values: Vec<f64>| -> Result<Figure> {
        Ok(Figure {
            n,
            interval: bootstrap.map(|bootstrap| bootstrap.mean(&values)).transpose()?,
            ..Figure::new(metric, format!("{name} ({network})"), value, convention)
        })
    };
    let share = |hits: &[[bool; 2]]| hits.iter().map(|hit| f64::from(u8::from(hit[0]))).collect::<Vec<_>>();
    if improved {
        let convention = "k = 3 nearest neighbours, distance at most the radius (torch-fidelity, ADM), exact";
        let counts = found.inclusive;
        return Ok(vec![
            figure("precision", "precision", found.precision(counts), convention, share(&hits.precise))?,
            figure("recall", "recall", found.recall(counts), convention, share(&hits.recalled))?,
        ]);
    }
    let convention = "k = 3 nearest neighbours, distance below the radius (prdc), exact";
    let (counts, k) = (found.strict, found.neighbours as f64);
    let covered = hits.inside.iter().map(|count| f64::from(u8::from(count[1] > 0))).collect();
    let balls = theirs.nrows() as f64 / ours.nrows().max(1) as f64;
    let dense = hits.inside.iter().map(|count| count[1] as f64 * balls / k).collect();
    Ok(vec![
        figure("density", "density", found.density(counts), convention, dense)?,
        figure("coverage", "coverage", found.coverage(counts), convention, covered)?,
    ])
}

/// The kernel distance with torch-fidelity's subsets; smaller ones where there are too few pictures.
fn kernel(samples: &FeatureFile, reference: &FeatureFile) -> Result<Vec<Figure>> {
    let (ours, theirs) = (samples.features()?, reference.features()?);
    let size = kid::SUBSET_SIZE.min(ours.nrows()).min(theirs.nrows());
    let subsets = kid::subsets(ours.nrows(), theirs.nrows(), kid::SUBSETS, size)?;
    let found = kid::distance(ours.view(), theirs.view(), &subsets)?;
    let network = &samples.info().network;
    Ok(vec![Figure {
        n: (Some(samples.len() as u64), Some(reference.len() as u64)),
        deviation: Some(found.deviation),
        ..Figure::new(
            "kid",
            named("KID", "KD", network),
            found.mean,
            format!(
                "torch-fidelity: {} subsets of {size} by RandomState(2020), cubic kernel, unbiased, f64",
                kid::SUBSETS
            ),
        )
    }])
}

/// FD∞ from the published 15 sizes; below 10,000 samples from half of them on.
fn extrapolated(samples: &FeatureFile, theirs: &Gaussian) -> Result<Vec<Figure>> {
    let count = samples.len();
    let least = fd_infinity::LEAST.min(count / 2);
    let sizes = fd_infinity::sizes(least, count, fd_infinity::POINTS)?;
    let order = |number: usize| fd_infinity::order(SUBSET_SEED, number, count);
    let found = fd_infinity::extrapolate(theirs, samples.features()?.view(), &sizes, order)?;
    Ok(vec![Figure {
        n: (Some(count as u64), theirs.count),
        ..Figure::new(
            "fd-inf",
            format!("{} at N = ∞", distance_name(&samples.info().network)),
            found.distance,
            format!("line over 1/N through {} sizes from {least} to {count}", sizes.len()),
        )
    }])
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
        let class = known.get(other).cloned();
        let name = distance_name(&samples.info().network);
        figures.push(Figure { class, ..distance("per-class", name, &theirs, &ours)? });
    }
    if figures.is_empty() {
        return Err(Error::config(
            "metric per-class: no class has two pictures on both sides; leave it away",
        ));
    }
    Ok(figures)
}

/// Top-1 and top-5 accuracy of the network's classes against the samples' labels.
fn accuracy(samples: &FeatureFile, bootstrap: Option<&Bootstrap>) -> Result<Vec<Figure>> {
    let Some(logits) = samples.logits()? else {
        let network = &samples.info().network.network;
        return Err(Error::config(format!("metric accuracy needs logits: network {network} gives none")));
    };
    let labels = samples.labels()?;
    let classes = samples.info().class_names.len();
    if classes != logits.ncols() || labels.iter().any(|&label| label as usize >= classes) {
        return Err(Error::config(format!(
            "metric accuracy: the samples have {classes} classes, the network {}; give a network that tells the samples' \
             classes apart, or leave the metric away",
            logits.ncols()
        )));
    }
    let hits = |most: usize| -> Vec<f64> {
        let rows = logits.rows().into_iter().zip(&labels);
        rows.map(|(row, label)| {
            let own = row.get(*label as usize).copied().unwrap_or(f32::NEG_INFINITY);
            f64::from(u8::from(row.iter().filter(|&&x| x > own).count() < most))
        })
        .collect()
    };
    let network = &samples.info().network.network;
    [(1, "top-1"), (5, "top-5")]
        .into_iter()
        .map(|(most, name)| {
            let hits = hits(most);
            Ok(Figure {
                interval: bootstrap.map(|bootstrap| bootstrap.mean(&hits)).transpose()?,
                n: (Some(samples.len() as u64), None),
                ..Figure::new(
                    "accuracy",
                    format!("{name} accuracy ({network})"),
                    hits.iter().sum::<f64>() / hits.len().max(1) as f64,
                    "share of samples whose label is among the largest logits, no bias where the network leaves it out",
                )
            })
        })
        .collect()
}
