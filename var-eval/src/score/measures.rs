//! Each metric on two sets of features: its numbers, their names and conventions.

use std::cell::OnceCell;

use ndarray::{Array2, ArrayView1, Axis};

use super::against::Against;
use super::ahead::common_classes;
use super::metric::{Metric, Quantity};
use crate::error::{Error, Result};
use crate::features::network::Identity;
use crate::features::store::FeatureFile;
use crate::metrics::bootstrap::{Bootstrap, Interval};
use crate::metrics::precision_recall::Hits;
use crate::metrics::resampled::Draws;
use crate::metrics::{fd_infinity, frechet, inception_score, kid, precision_recall};
use crate::report::{Figure, distance_name, named};
use crate::statistics::Gaussian;
use crate::warnings::{self, Side, Warning};

/// Seed of the subsets of FD∞.
const SUBSET_SEED: u64 = 0;

/// Both sets. What several metrics need is read or computed once, when it is first needed.
pub(super) struct Sets<'a> {
    samples: &'a FeatureFile,
    reference: Against<'a>,
    bootstrap: Option<&'a Bootstrap>,
    ours: OnceCell<Array2<f32>>,
    theirs: OnceCell<Array2<f32>>,
    hits: OnceCell<Hits>,
}

impl<'a> Sets<'a> {
    /// Both sets; reads nothing yet.
    pub(super) fn new(
        samples: &'a FeatureFile,
        reference: Against<'a>,
        bootstrap: Option<&'a Bootstrap>,
    ) -> Self {
        let (ours, theirs, hits) = (OnceCell::new(), OnceCell::new(), OnceCell::new());
        Self { samples, reference, bootstrap, ours, theirs, hits }
    }

    /// The numbers of `metric`, and warnings about them.
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

    /// The features of the samples `[N, D]`.
    fn ours(&self) -> Result<&Array2<f32>> {
        once(&self.ours, || self.samples.features())
    }

    /// The features of the reference `[M, D]`.
    fn theirs(&self, metric: Metric) -> Result<&Array2<f32>> {
        let reference = self.pictures(metric)?;
        once(&self.theirs, || reference.features())
    }

    /// The file with the features of the reference, which some metrics need.
    fn pictures(&self, metric: Metric) -> Result<&'a FeatureFile> {
        self.reference.features().ok_or_else(|| {
            Error::config(format!(
                "metric {metric} needs the reference's images or features, not their statistics alone"
            ))
        })
    }

    /// Mean and covariance of the pooled features of the reference.
    fn their_gaussian(&self) -> Result<Gaussian> {
        match self.reference {
            Against::Features(file) => file.statistics(),
            Against::Statistics(file) | Against::Batch { statistics: file, .. } => Ok(file.pooled.clone()),
        }
    }

    /// Which image is in which ball, for precision, recall, density and coverage.
    fn hits(&self, metric: Metric) -> Result<&Hits> {
        let (ours, theirs) = (self.ours()?, self.theirs(metric)?);
        once(&self.hits, || precision_recall::hits(theirs.view(), ours.view(), precision_recall::NEIGHBOURS))
    }

    /// Number of images of both sets.
    fn counts(&self) -> (Option<u64>, Option<u64>) {
        (Some(self.samples.len() as u64), self.reference.features().map(|file| file.len() as u64))
    }

    fn pooled(&self) -> Result<(Vec<Figure>, Vec<Warning>)> {
        let theirs = self.their_gaussian()?;
        let (figure, warnings) =
            distance(Quantity::Fd, distance_name(self.network()), &theirs, &self.samples.statistics()?)?;
        let Some(bootstrap) = self.bootstrap else { return Ok((vec![figure], warnings)) };
        let interval = resampled(self.ours()?, &theirs, figure.value, bootstrap)?;
        Ok((vec![Figure { interval: Some(interval), ..figure }], warnings))
    }

    fn spatial(&self) -> Result<(Vec<Figure>, Vec<Warning>)> {
        let theirs = match self.reference {
            Against::Features(file) => file.spatial_statistics()?,
            Against::Statistics(file) | Against::Batch { statistics: file, .. } => file.spatial.clone(),
        };
        let (Some(theirs), Some(ours)) = (theirs, self.samples.spatial_statistics()?) else {
            return Err(Error::config(format!(
                "metric sfid needs spatial features: network {} or the reference has none; omit the metric",
                self.network().network
            )));
        };
        let name = format!("s{}", distance_name(self.network()));
        let (figure, warnings) = distance(Quantity::Sfid, name, &theirs, &ours)?;
        Ok((vec![figure], warnings))
    }

    /// The Inception Score by both conventions.
    fn scores(&self) -> Result<(Vec<Figure>, Vec<Warning>)> {
        let network = self.network();
        let Some(logits) = self.samples.logits()? else {
            return Err(Error::config(format!(
                "metric is needs logits, but network {} has none",
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
                    Quantity::Is,
                    name.clone(),
                    shuffled.mean,
                    "torch-fidelity: rows shuffled by RandomState(2020), 10 splits, mean and deviation",
                )
            },
            Figure {
                n,
                ..Figure::new(Quantity::IsAdm, name, blocks.mean, "ADM: blocks of 5000 in file order, mean")
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
            self.mean(
                Quantity::Precision,
                "precision",
                found.precision(found.inclusive),
                convention,
                &share(&hits.precise),
            )?,
            self.mean(
                Quantity::Recall,
                "recall",
                found.recall(found.inclusive),
                convention,
                &share(&hits.recalled),
            )?,
        ])
    }

    fn density_coverage(&self) -> Result<Vec<Figure>> {
        let hits = self.hits(Metric::DensityCoverage)?;
        let found = hits.comparison();
        let covered: Vec<f64> = hits.inside.iter().map(|count| f64::from(u8::from(count[1] > 0))).collect();
        // Scaled so that their mean over the balls is the density.
        let balls = found.real as f64 / (found.neighbours as f64 * found.generated as f64);
        let dense: Vec<f64> = hits.inside.iter().map(|count| count[1] as f64 * balls).collect();
        let convention = "k = 3 nearest neighbours, distance below the radius (prdc), exact";
        Ok(vec![
            self.mean(Quantity::Density, "density", found.density(found.strict), convention, &dense)?,
            self.mean(Quantity::Coverage, "coverage", found.coverage(found.strict), convention, &covered)?,
        ])
    }

    /// A number that is the mean of `values`, with its interval.
    fn mean(
        &self,
        quantity: Quantity,
        name: &'static str,
        value: f64,
        convention: &'static str,
        values: &[f64],
    ) -> Result<Figure> {
        let interval = self.bootstrap.map(|bootstrap| bootstrap.mean(values)).transpose()?;
        let title = format!("{name} ({})", self.network().network);
        Ok(Figure { n: self.counts(), interval, ..Figure::new(quantity, title, value, convention) })
    }

    /// The kernel distance on the subsets of torch-fidelity, or on smaller ones if there are too few images.
    fn kernel(&self) -> Result<Vec<Figure>> {
        let (ours, theirs) = (self.ours()?, self.theirs(Metric::Kid)?);
        let size = kid::SUBSET_SIZE.min(ours.nrows()).min(theirs.nrows());
        // Subsets as large as the sets would differ only in the order of their rows.
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
                Quantity::Kid,
                named("KID", "KD", self.network()),
                found.mean,
                format!("{of}, cubic kernel, unbiased, f64"),
            )
        }])
    }

    /// FD∞ from the 15 published sizes; with fewer than 10,000 samples, the smallest size is half of them.
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
                Quantity::FdInf,
                format!("{} at N = ∞", distance_name(self.network())),
                found.distance,
                format!("line over 1/N through {} sizes from {least} to {count}", sizes.len()),
            )
        }])
    }

    /// The distance of each class that both sets have.
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
            // The covariance of a small class is singular, and larger than the features that it comes from.
            let found = if our_rows.len().min(their_rows.len()) <= ours.ncols() {
                frechet::distance_of_samples(y.view(), x.view())?
            } else {
                frechet::distance(&Gaussian::of(y.view())?, &Gaussian::of(x.view())?)?
            };
            figures.push(Figure {
                class: known.get(other).cloned(),
                n: (Some(our_rows.len() as u64), Some(their_rows.len() as u64)),
                ..Figure::new(Quantity::PerClass, distance_name(self.network()), found.distance, FRECHET)
            });
        }
        if figures.is_empty() {
            return Err(Error::config(
                "metric per-class: no class has two images in both sets; omit the metric",
            ));
        }
        Ok(figures)
    }

    /// Top-1 and top-5 accuracy: the classes of the network against the labels of the samples.
    fn accuracy(&self) -> Result<Vec<Figure>> {
        let (samples, network) = (self.samples, &self.network().network);
        let Some(logits) = samples.logits()? else {
            return Err(Error::config(format!(
                "metric accuracy needs logits, but network {network} has none"
            )));
        };
        let labels = samples.labels()?;
        let classes = samples.info().class_names.len();
        if classes != logits.ncols() || labels.iter().any(|&label| label as usize >= classes) {
            return Err(Error::config(format!(
                "metric accuracy: the samples have {classes} classes, the network {}; use a network for the classes of the \
                 samples, or omit the metric",
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
                    Quantity::Accuracy,
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

/// The value in `cell`; `read` computes it the first time.
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
    quantity: Quantity,
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
        Figure { n: (ours.count, theirs.count), ..Figure::new(quantity, name, found.distance, FRECHET) };
    Ok((figure, warnings))
}

/// The bootstrap interval of the distance. Repeated images make covariances more singular, so each draw has a larger
/// distance. The draws are therefore shifted so that their mean is the distance. The interval shows how much the distance
/// depends on the choice of images. It says nothing about the bias, which FD∞ removes.
fn resampled(
    samples: &Array2<f32>,
    theirs: &Gaussian,
    distance: f64,
    bootstrap: &Bootstrap,
) -> Result<Interval> {
    let draws = Draws::new(theirs, samples.view())?;
    let mut sum = 0.0;
    let found = bootstrap.of(samples.nrows(), |rows| {
        let drawn = draws.distance(rows)?;
        sum += drawn;
        Ok(drawn)
    })?;
    Ok(found.moved(distance - sum / found.draws as f64))
}
