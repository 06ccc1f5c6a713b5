//! Each metric on two sets of features: which numbers it gives, under which names, by which convention.

use std::cell::OnceCell;

use ndarray::{Array2, ArrayView1, Axis};

use super::ahead::common_classes;
use super::{Metric, Reference};
use crate::error::{Error, Result};
use crate::features::network::Identity;
use crate::features::store::FeatureFile;
use crate::metrics::bootstrap::{Bootstrap, Interval};
use crate::metrics::precision_recall::Hits;
use crate::metrics::{fd_infinity, frechet, inception_score, kid, precision_recall};
use crate::report::{Figure, distance_name, named};
use crate::statistics::Gaussian;
use crate::warnings::{self, Side, Warning};

/// Seed of the subsets of FD∞.
const SUBSET_SEED: u64 = 0;

/// Both sets, with what several metrics need and what takes long: read or computed once, when first asked for.
pub(super) struct Sets<'a> {
    samples: &'a FeatureFile,
    reference: &'a Reference,
    bootstrap: Option<&'a Bootstrap>,
    ours: OnceCell<Array2<f32>>,
    theirs: OnceCell<Array2<f32>>,
    hits: OnceCell<Hits>,
}

impl<'a> Sets<'a> {
    /// Nothing is read yet.
    pub(super) fn new(
        samples: &'a FeatureFile,
        reference: &'a Reference,
        bootstrap: Option<&'a Bootstrap>,
    ) -> Self {
        let (ours, theirs, hits) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { samples, reference, bootstrap, ours, theirs, hits }
    }

    /// The numbers of `metric`, and what is doubtful about them.
    pub(super) fn measure(&self, metric: Metric) -> Result<(Vec<Figure>, Vec<Warning>)> {
        let plain = |figures: Vec<Figure>| (figures, Vec::new());
        match metric {
            Metric::Fd => self.pooled(),
            Metric::Sfid => self.spatial(),
            Metric::InceptionScore => self.scores(),
            Metric::PrecisionRecall => self.precision_recall().map(plain),
            Metric::DensityCoverage => self.density_coverage().map(plain),
            Metric::Kid => self.kernel().map(plain),
            Metric::FdInfinity => self.extrapolated().map(plain),
            Metric::PerClass => self.per_class().map(plain),
            Metric::Accuracy => self.accuracy().map(plain),
        }
    }

    fn network(&self) -> &Identity {
        &self.samples.info().network
    }

    /// The samples' features `[N, D]`.
    fn ours(&self) -> Result<&Array2<f32>> {
        once(&self.ours, || self.samples.features())
    }

    /// The reference's features `[M, D]`, which not every reference has.
    fn theirs(&self, metric: Metric) -> Result<&Array2<f32>> {
        let reference = self.pictures(metric)?;
        once(&self.theirs, || reference.features())
    }

    /// The reference's file of features, which some metrics cannot do without.
    fn pictures(&self, metric: Metric) -> Result<&'a FeatureFile> {
        self.reference.features().ok_or_else(|| {
            Error::config(format!(
                "metric {metric} needs the reference's images or features, not their statistics alone"
            ))
        })
    }

    /// Mean and covariance of the reference's pooled features.
    fn their_gaussian(&self) -> Result<Gaussian> {
        match self.reference {
            Reference::Features(file) => file.statistics(),
            Reference::Statistics(file) | Reference::Batch { statistics: file, .. } => {
                Ok(file.pooled.clone())
            }
        }
    }

    /// Who is in whose ball: the same for precision, recall, density and coverage.
    fn hits(&self, metric: Metric) -> Result<&Hits> {
        let (ours, theirs) = (self.ours()?, self.theirs(metric)?);
        once(&self.hits, || precision_recall::hits(theirs.view(), ours.view(), precision_recall::NEIGHBOURS))
    }

    /// Pictures of both sets.
    fn counts(&self) -> (Option<u64>, Option<u64>) {
        (Some(self.samples.len() as u64), self.reference.features().map(|file| file.len() as u64))
    }

    fn pooled(&self) -> Result<(Vec<Figure>, Vec<Warning>)> {
        let theirs = self.their_gaussian()?;
        let (figure, warnings) =
            distance("fd", distance_name(self.network()), &theirs, &self.samples.statistics()?)?;
        let Some(bootstrap) = self.bootstrap else { return Ok((vec![figure], warnings)) };
        let interval = resampled(self.ours()?, &theirs, figure.value, bootstrap)?;
        Ok((vec![Figure { interval: Some(interval), ..figure }], warnings))
    }

    fn spatial(&self) -> Result<(Vec<Figure>, Vec<Warning>)> {
        let theirs = match self.reference {
            Reference::Features(file) => file.spatial_statistics()?,
            Reference::Statistics(file) | Reference::Batch { statistics: file, .. } => file.spatial.clone(),
        };
        let (Some(theirs), Some(ours)) = (theirs, self.samples.spatial_statistics()?) else {
            return Err(Error::config(format!(
                "metric sfid needs spatial features: network {} or the reference has none; leave it away",
                self.network().network
            )));
        };
        let name = format!("s{}", distance_name(self.network()));
        let (figure, warnings) = distance("sfid", name, &theirs, &ours)?;
        Ok((vec![figure], warnings))
    }

    /// The Inception Score in both conventions.
    fn scores(&self) -> Result<(Vec<Figure>, Vec<Warning>)> {
        let network = self.network();
        let Some(logits) = self.samples.logits()? else {
            return Err(Error::config(format!(
                "metric is needs logits: network {} gives none",
                network.network
            )));
        };
        let n = (self.counts().0, None);
        let splits = inception_score::SPLITS;
        let shuffled =
            inception_score::inception_score(logits.view(), splits, &inception_score::Order::Shuffled)?;
        let blocks = inception_score::adm(logits.view())?;
        let (classes, what) = if self.samples.info().class_names.len() > 1 {
            (self.samples.labels()?, "the samples' labels")
        } else {
            (logits.rows().into_iter().map(largest).collect(), "the classes that the network predicts")
        };
        let warnings = warnings::of_blocks(&classes, what, inception_score::ADM_BLOCK);
        let name = named("Inception Score", "IS", network);
        let figures = vec![
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
            Figure {
                n,
                ..Figure::new("is-adm", name, blocks.mean, "ADM: blocks of 5000 in file order, mean")
            },
        ];
        Ok((figures, warnings))
    }

    fn precision_recall(&self) -> Result<Vec<Figure>> {
        let hits = self.hits(Metric::PrecisionRecall)?;
        let found = hits.comparison();
        let share =
            |hits: &[[bool; 2]]| hits.iter().map(|hit| f64::from(u8::from(hit[0]))).collect::<Vec<_>>();
        let convention = "k = 3 nearest neighbours, distance at most the radius (torch-fidelity, ADM), exact";
        Ok(vec![
            self.mean("precision", found.precision(found.inclusive), convention, &share(&hits.precise))?,
            self.mean("recall", found.recall(found.inclusive), convention, &share(&hits.recalled))?,
        ])
    }

    fn density_coverage(&self) -> Result<Vec<Figure>> {
        let hits = self.hits(Metric::DensityCoverage)?;
        let found = hits.comparison();
        let covered: Vec<f64> = hits.inside.iter().map(|count| f64::from(u8::from(count[1] > 0))).collect();
        // So that their mean over the balls is the density.
        let balls = found.real as f64 / (found.neighbours as f64 * found.generated as f64);
        let dense: Vec<f64> = hits.inside.iter().map(|count| count[1] as f64 * balls).collect();
        let convention = "k = 3 nearest neighbours, distance below the radius (prdc), exact";
        Ok(vec![
            self.mean("density", found.density(found.strict), convention, &dense)?,
            self.mean("coverage", found.coverage(found.strict), convention, &covered)?,
        ])
    }

    /// A figure that is the mean of `values`, with its interval.
    fn mean(
        &self,
        name: &'static str,
        value: f64,
        convention: &'static str,
        values: &[f64],
    ) -> Result<Figure> {
        let interval = self.bootstrap.map(|bootstrap| bootstrap.mean(values)).transpose()?;
        let title = format!("{name} ({})", self.network().network);
        Ok(Figure { n: self.counts(), interval, ..Figure::new(name, title, value, convention) })
    }

    /// The kernel distance with torch-fidelity's subsets; smaller ones where there are too few pictures.
    fn kernel(&self) -> Result<Vec<Figure>> {
        let (ours, theirs) = (self.ours()?, self.theirs(Metric::Kid)?);
        let size = kid::SUBSET_SIZE.min(ours.nrows()).min(theirs.nrows());
        // Subsets that are both sets differ in nothing but the order of their rows.
        let whole = size == ours.nrows() && size == theirs.nrows();
        let count = if whole { 1 } else { kid::SUBSETS };
        let subsets = kid::subsets(ours.nrows(), theirs.nrows(), count, size)?;
        let found = kid::distance(ours.view(), theirs.view(), &subsets)?;
        let of = if whole {
            format!("both sets as wholes, {size} images each")
        } else {
            format!("torch-fidelity: {count} subsets of {size} by RandomState(2020)")
        };
        Ok(vec![Figure {
            n: self.counts(),
            deviation: (!whole).then_some(found.deviation),
            ..Figure::new(
                "kid",
                named("KID", "KD", self.network()),
                found.mean,
                format!("{of}, cubic kernel, unbiased, f64"),
            )
        }])
    }

    /// FD∞ from the published 15 sizes; below 10,000 samples from half of them on.
    fn extrapolated(&self) -> Result<Vec<Figure>> {
        let count = self.samples.len();
        let least = fd_infinity::LEAST.min(count / 2);
        let sizes = fd_infinity::sizes(least, count, fd_infinity::POINTS)?;
        let order = |number: usize| fd_infinity::order(SUBSET_SEED, number, count);
        let theirs = self.their_gaussian()?;
        let found = fd_infinity::extrapolate(&theirs, self.ours()?.view(), &sizes, order)?;
        Ok(vec![Figure {
            n: (self.counts().0, theirs.count),
            ..Figure::new(
                "fd-inf",
                format!("{} at N = ∞", distance_name(self.network())),
                found.distance,
                format!("line over 1/N through {} sizes from {least} to {count}", sizes.len()),
            )
        }])
    }

    /// The distance of each class that both sets have, by its name.
    fn per_class(&self) -> Result<Vec<Figure>> {
        let (samples, reference) = (self.samples, self.pictures(Metric::PerClass)?);
        let (ours, theirs) = (self.ours()?, self.theirs(Metric::PerClass)?);
        let (our_labels, their_labels) = (samples.labels()?, reference.labels()?);
        let rows = |labels: &[u32], class: usize| -> Vec<usize> {
            labels
                .iter()
                .enumerate()
                .filter(|&(_, &label)| label as usize == class)
                .map(|(row, _)| row)
                .collect()
        };
        let (names, known) = (&samples.info().class_names, &reference.info().class_names);
        let mut figures = Vec::new();
        for (class, other) in common_classes(names, known) {
            let (our_rows, their_rows) = (rows(&our_labels, class), rows(&their_labels, other));
            if our_rows.len() < 2 || their_rows.len() < 2 {
                continue;
            }
            let (x, y) = (ours.select(Axis(0), &our_rows), theirs.select(Axis(0), &their_rows));
            // Classes are small: their covariances are singular, and larger than the features they come from.
            let found = if our_rows.len().min(their_rows.len()) <= ours.ncols() {
                frechet::distance_of_samples(y.view(), x.view())?
            } else {
                frechet::distance(&Gaussian::of(y.view())?, &Gaussian::of(x.view())?)?
            };
            figures.push(Figure {
                class: known.get(other).cloned(),
                n: (Some(our_rows.len() as u64), Some(their_rows.len() as u64)),
                ..Figure::new("per-class", distance_name(self.network()), found.distance, FRECHET)
            });
        }
        if figures.is_empty() {
            return Err(Error::config(
                "metric per-class: no class has two pictures on both sides; leave it away",
            ));
        }
        Ok(figures)
    }

    /// Top-1 and top-5 accuracy of the network's classes against the samples' labels.
    fn accuracy(&self) -> Result<Vec<Figure>> {
        let (samples, network) = (self.samples, &self.network().network);
        let Some(logits) = samples.logits()? else {
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
        [(1, "top-1"), (5, "top-5")]
        .into_iter()
        .map(|(most, name)| {
            let hits = hits(most);
            Ok(Figure {
                interval: self.bootstrap.map(|bootstrap| bootstrap.mean(&hits)).transpose()?,
                n: (self.counts().0, None),
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
}

/// How every Fréchet distance is computed.
const FRECHET: &str = "Fréchet distance of Gaussians, covariance with N − 1";

/// What `cell` holds, which `read` gives when it is first asked for.
fn once<T>(cell: &OnceCell<T>, read: impl FnOnce() -> Result<T>) -> Result<&T> {
    if let Some(value) = cell.get() {
        return Ok(value);
    }
    let value = read()?;
    Ok(cell.get_or_init(|| value))
}

/// The class with the largest logit.
fn largest(logits: ArrayView1<'_, f32>) -> u32 {
    let best = logits.iter().enumerate().max_by(|(_, a), (_, b)| a.total_cmp(b));
    best.map_or(0, |(class, _)| class as u32)
}

fn distance(
    metric: &'static str,
    name: String,
    theirs: &Gaussian,
    ours: &Gaussian,
) -> Result<(Figure, Vec<Warning>)> {
    let found = frechet::distance(theirs, ours)?;
    let sides = [(Side::Reference, theirs), (Side::Samples, ours)];
    let ranks = found.ranks.into_iter().flat_map(|ranks| sides.into_iter().zip(ranks));
    let warnings = ranks
        .filter_map(|((side, set), rank)| warnings::of_rank(set.count, set.width(), rank, side))
        .collect();
    let figure =
        Figure { n: (ours.count, theirs.count), ..Figure::new(metric, name, found.distance, FRECHET) };
    Ok((figure, warnings))
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
