//! Precision, recall, density and coverage by nearest neighbours.
//!
//! Kynkäänniemi and others, "Improved precision and recall metric" (2019): a generated image counts for
//! precision if it lies in the ball of a real one, whose radius is the distance to its k-th nearest real neighbour. Recall is
//! the same with the roles exchanged. Naeem and others, "Reliable fidelity and diversity metrics" (2020):
//! density counts the real balls that a generated image lies in, coverage the real balls with a generated image.
//! A point on the sphere is inside for torch-fidelity and ADM ([`Comparison::inclusive`]) and outside for prdc
//! ([`Comparison::strict`]); they differ if images repeat.
//!
//! Counts are those of exact distances in `f64`. A matrix product in `f32` with a bound of its rounding error decides most
//! pairs; the others are computed one by one (see the module `neighbours`).

use ndarray::ArrayView2;
use serde::Serialize;

use super::matrix;
use super::neighbours::{self, Balls};
use crate::error::{Error, Result};

/// Number of neighbours in the published tools.
pub const NEIGHBOURS: usize = 3;

/// Numbers of images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Generated images inside a real ball.
    pub precise: u64,
    /// Real images inside a generated ball.
    pub recalled: u64,
    /// Pairs of a real ball and a generated image inside it.
    pub inside: u64,
    /// Real balls with a generated image inside.
    pub covered: u64,
}

/// Two sets compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// A point on the sphere is inside (torch-fidelity, ADM).
    pub inclusive: Counts,
    /// A point on the sphere is outside (prdc).
    pub strict: Counts,
    /// Neighbours, k.
    pub neighbours: usize,
    /// Real images.
    pub real: usize,
    /// Generated images.
    pub generated: usize,
}

impl Comparison {
    /// Share of generated images inside a real ball.
    pub fn precision(&self, counts: Counts) -> f64 {
        counts.precise as f64 / self.generated as f64
    }

    /// Share of real images inside a generated ball.
    pub fn recall(&self, counts: Counts) -> f64 {
        counts.recalled as f64 / self.real as f64
    }

    /// Real balls that a generated image lies in, on average, over k.
    pub fn density(&self, counts: Counts) -> f64 {
        counts.inside as f64 / (self.neighbours as f64 * self.generated as f64)
    }

    /// Share of real balls with a generated image inside.
    pub fn coverage(&self, counts: Counts) -> f64 {
        counts.covered as f64 / self.real as f64
    }
}

/// The contribution of each image to the counts, for intervals by resampling images ([`bootstrap`](super::bootstrap)). Of
/// each pair, the first counts a point on the sphere as inside (torch-fidelity, ADM), the second as outside (prdc).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Hits {
    /// Whether a generated image is inside a real ball `[M]`.
    pub precise: Vec<[bool; 2]>,
    /// Whether a real image is inside a generated ball `[N]`.
    pub recalled: Vec<[bool; 2]>,
    /// Generated images inside each real ball `[N]`.
    pub inside: Vec<[u64; 2]>,
    /// Distance of each real image to its k-th nearest neighbour `[N]`.
    pub real_radii: Vec<f64>,
    /// Distance of each generated image to its k-th nearest neighbour `[M]`.
    pub generated_radii: Vec<f64>,
    /// Neighbours, k.
    pub neighbours: usize,
}

impl Hits {
    /// The sums.
    pub fn comparison(&self) -> Comparison {
        let [inclusive, strict] = [0, 1].map(|way| self.counts(way));
        let (real, generated) = (self.recalled.len(), self.precise.len());
        Comparison { inclusive, strict, neighbours: self.neighbours, real, generated }
    }

    fn counts(&self, way: usize) -> Counts {
        let hits = |all: &[[bool; 2]]| all.iter().filter(|hit| hit[way]).count() as u64;
        Counts {
            precise: hits(&self.precise),
            recalled: hits(&self.recalled),
            inside: self.inside.iter().map(|count| count[way]).sum(),
            covered: self.inside.iter().filter(|count| count[way] > 0).count() as u64,
        }
    }
}

/// Compares `generated` `[M, D]` with `real` `[N, D]` by k nearest neighbours.
///
/// # Errors
/// As [`hits`].
pub fn compare(
    real: ArrayView2<'_, f32>,
    generated: ArrayView2<'_, f32>,
    neighbours: usize,
) -> Result<Comparison> {
    Ok(hits(real, generated, neighbours)?.comparison())
}

/// Compares each image of `generated` `[M, D]` with `real` `[N, D]` by k nearest neighbours.
///
/// # Errors
/// When a set has no more than k rows or a number that is not finite, k is 0, the widths differ, or libtorch
/// fails.
pub fn hits(real: ArrayView2<'_, f32>, generated: ArrayView2<'_, f32>, neighbours: usize) -> Result<Hits> {
    matrix::same_width(real.ncols(), generated.ncols())?;
    for (name, set) in [("reference", real), ("samples", generated)] {
        matrix::check(name, set)?;
        if neighbours == 0 || set.nrows() <= neighbours {
            return Err(Error::measure(format!(
                "{name}: {neighbours} nearest neighbours need more than {} images",
                set.nrows()
            )));
        }
    }
    let [real, generated] = neighbours::points(real, generated, neighbours::TILE)?;
    let squares = [real.radii(neighbours)?, generated.radii(neighbours)?];
    let balls = Balls::new(&real, &generated, [&squares[0], &squares[1]])?;
    let [real_radii, generated_radii] = squares.map(|squares| squares.into_iter().map(f64::sqrt).collect());
    let Balls { inside, recalled, precise } = balls;
    Ok(Hits { precise, recalled, inside, real_radii, generated_radii, neighbours })
}
