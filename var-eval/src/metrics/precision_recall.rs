//! Precision, recall, density and coverage by nearest neighbours.
//!
//! Kynkäänniemi and others, "Improved precision and recall metric" (2019): a generated picture is precise when it
//! lies in the ball of some real one, whose radius reaches its k-th nearest real neighbour (itself not counted);
//! recall is the same with the roles exchanged. Naeem and others, "Reliable fidelity and diversity metrics" (2020):
//! density counts the balls that a generated picture lies in, coverage the real balls with a generated picture.
//! A point on the sphere is inside for torch-fidelity and ADM ([`Comparison::inclusive`]) and outside for prdc
//! ([`Comparison::strict`]); they part where pictures repeat.
//!
//! Counts are those of distances in `f64` with differences taken before squaring. Most pairs are decided by a
//! matrix product of centred features in `f64`, whose rounding error is bounded; the others are looked at one by
//! one. Memory stays at one tile of [`TILE`] × [`TILE`] products.

use ndarray::{Array1, ArrayView1, ArrayView2, Axis, s};
use serde::Serialize;
use tch::Tensor;

use super::matrix;
use crate::error::{Error, Result};

/// Neighbours of the published tools.
pub const NEIGHBOURS: usize = 3;
/// Rows of each set that are compared at once.
pub const TILE: usize = 1024;
/// Candidates for nearest neighbours that a row keeps before they are measured.
const CANDIDATES: usize = 128;

/// Numbers of pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Counts {
    /// Generated pictures inside a real ball.
    pub precise: u64,
    /// Real pictures inside a generated ball.
    pub recalled: u64,
    /// Pairs of a real ball and a generated picture inside it.
    pub inside: u64,
    /// Real balls with a generated picture inside.
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
    /// Real pictures.
    pub real: usize,
    /// Generated pictures.
    pub generated: usize,
}

impl Comparison {
    /// Share of generated pictures inside a real ball.
    pub fn precision(&self, counts: Counts) -> f64 {
        counts.precise as f64 / self.generated as f64
    }

    /// Share of real pictures inside a generated ball.
    pub fn recall(&self, counts: Counts) -> f64 {
        counts.recalled as f64 / self.real as f64
    }

    /// Real balls that a generated picture lies in, on average, over k.
    pub fn density(&self, counts: Counts) -> f64 {
        counts.inside as f64 / (self.neighbours as f64 * self.generated as f64)
    }

    /// Share of real balls with a generated picture inside.
    pub fn coverage(&self, counts: Counts) -> f64 {
        counts.covered as f64 / self.real as f64
    }
}

/// Compares `generated` `[M, D]` with `real` `[N, D]` by k nearest neighbours.
///
/// # Errors
/// When a set has no more than k rows or a number that is not finite, k is 0, the widths differ, or libtorch
/// fails.
pub fn compare(
    real: ArrayView2<'_, f32>,
    generated: ArrayView2<'_, f32>,
    neighbours: usize,
) -> Result<Comparison> {
    matrix::same_width(real.ncols(), generated.ncols())?;
    for (name, set) in [("reference", real), ("samples", generated)] {
        matrix::check(name, set)?;
        if neighbours == 0 || set.nrows() <= neighbours {
            return Err(Error::measure(format!(
                "{name}: {neighbours} nearest neighbours among {} pictures; give more pictures",
                set.nrows()
            )));
        }
    }
    let centre = real.mapv(f64::from).mean_axis(Axis(0)).unwrap_or_default();
    let (x, y) = (Set { rows: real, centre: &centre }, Set { rows: generated, centre: &centre });
    let radii = [x.radii(neighbours)?, y.radii(neighbours)?];
    let mut balls = Balls {
        inside: vec![[0; 2]; real.nrows()],
        recalled: vec![[false; 2]; real.nrows()],
        precise: vec![[false; 2]; generated.nrows()],
    };
    x.tiles(&y, false, |i, j, least, most| {
        let (of_real, of_generated) = (radii[0][i], radii[1][j]);
        let undecided = |radius: f64| least <= radius * radius && radius * radius <= most;
        let distance = if undecided(of_real) || undecided(of_generated) {
            apart(real.row(i), generated.row(j))
        } else {
            // Any length between the bounds is on the right side of both radii.
            (0.5 * (least.max(0.0) + most)).sqrt()
        };
        for (way, inside) in [distance <= of_real, distance < of_real].into_iter().enumerate() {
            balls.inside[i][way] += u64::from(inside);
            balls.precise[j][way] |= inside;
        }
        for (way, inside) in [distance <= of_generated, distance < of_generated].into_iter().enumerate() {
            balls.recalled[i][way] |= inside;
        }
    })?;
    let [inclusive, strict] = [0, 1].map(|way| balls.counts(way));
    let (real, generated) = (real.nrows(), generated.nrows());
    Ok(Comparison { inclusive, strict, neighbours, real, generated })
}

/// What was found so far, for both ways of counting the sphere.
struct Balls {
    inside: Vec<[u64; 2]>,
    recalled: Vec<[bool; 2]>,
    precise: Vec<[bool; 2]>,
}

impl Balls {
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

/// The distance of two rows.
fn apart(a: ArrayView1<'_, f32>, b: ArrayView1<'_, f32>) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum::<f64>().sqrt()
}

/// Features and the point from which products are taken.
struct Set<'a> {
    rows: ArrayView2<'a, f32>,
    centre: &'a Array1<f64>,
}

impl Set<'_> {
    /// Rows `start..start + TILE`, centred, and their squared lengths.
    fn tile(&self, start: usize) -> Result<(Tensor, Vec<f64>)> {
        let end = (start + TILE).min(self.rows.nrows());
        let tile = self.rows.slice(s![start..end, ..]).mapv(f64::from) - self.centre;
        let squares = tile.rows().into_iter().map(|row| row.dot(&row)).collect();
        Ok((matrix::tensor(tile.view())?, squares))
    }

    /// Calls `look` with bounds of the squared distance of every row of this set and every one of `other`;
    /// with `half`, only for tiles on and above the diagonal.
    fn tiles(&self, other: &Set<'_>, half: bool, mut look: impl FnMut(usize, usize, f64, f64)) -> Result<()> {
        let error = (2.0 * self.rows.ncols() as f64 + 16.0) * f64::EPSILON;
        for top in (0..self.rows.nrows()).step_by(TILE) {
            let (a, a_squares) = self.tile(top)?;
            let first = if half { top } else { 0 };
            for left in (first..other.rows.nrows()).step_by(TILE) {
                let (b, b_squares) = other.tile(left)?;
                let products = matrix::cells(&a.f_mm(&b.f_tr()?)?)?;
                let rows = products.chunks(b_squares.len()).zip(&a_squares).zip(top..);
                for ((products, a_square), i) in rows {
                    for ((product, b_square), j) in products.iter().zip(&b_squares).zip(left..) {
                        let square = a_square + b_square - 2.0 * product;
                        let slack = error * (a_square + b_square);
                        look(i, j, square - slack, square + slack);
                    }
                }
            }
        }
        Ok(())
    }

    /// The distance of each row to its k-th nearest neighbour in the set, itself not counted.
    fn radii(&self, neighbours: usize) -> Result<Vec<f64>> {
        let mut nearest = vec![Nearest { limit: f64::INFINITY, candidates: Vec::new() }; self.rows.nrows()];
        self.tiles(self, true, |i, j, least, most| {
            if least <= nearest[i].limit {
                nearest[i].add(j, least, most, neighbours, |j| apart(self.rows.row(i), self.rows.row(j)));
            }
            // Tiles below the diagonal are not visited.
            if j / TILE != i / TILE && least <= nearest[j].limit {
                nearest[j].add(i, least, most, neighbours, |i| apart(self.rows.row(i), self.rows.row(j)));
            }
        })?;
        let radius = |(row, mut nearest): (usize, Nearest)| {
            nearest.measure(neighbours, |j| apart(self.rows.row(row), self.rows.row(j)));
            // The row itself is the nearest.
            nearest.candidates.get(neighbours).map_or(0.0, |found| found.most.sqrt())
        };
        let measured = nearest.into_iter().enumerate().map(radius);
        // The root of a rounded square is the number itself: radii are distances to the bit, and ties stay ties.
        Ok(measured.collect())
    }
}

/// Rows that may be among the nearest.
#[derive(Clone)]
struct Nearest {
    /// No row further away than this is among them.
    limit: f64,
    candidates: Vec<Candidate>,
}

/// A row and the bounds of its squared distance.
#[derive(Clone, Copy)]
struct Candidate {
    row: usize,
    least: f64,
    most: f64,
}

impl Nearest {
    fn add(&mut self, row: usize, least: f64, most: f64, neighbours: usize, distance: impl Fn(usize) -> f64) {
        self.candidates.push(Candidate { row, least, most });
        if self.candidates.len() >= CANDIDATES.max(8 * neighbours) {
            self.measure(neighbours, distance);
        }
    }

    /// Keeps the k + 1 nearest, with their own distances.
    fn measure(&mut self, neighbours: usize, distance: impl Fn(usize) -> f64) {
        self.candidates.sort_by(|a, b| a.most.total_cmp(&b.most));
        let limit = self.candidates.get(neighbours).map_or(f64::INFINITY, |candidate| candidate.most);
        self.candidates.retain(|candidate| candidate.least <= limit);
        for candidate in &mut self.candidates {
            candidate.least = distance(candidate.row);
            candidate.most = candidate.least;
        }
        self.candidates.sort_by(|a, b| a.most.total_cmp(&b.most));
        self.candidates.truncate(neighbours + 1);
        for candidate in &mut self.candidates {
            // Squares again, widened by the root's own rounding.
            candidate.least *= candidate.least * (1.0 - 4.0 * f64::EPSILON);
            candidate.most *= candidate.most;
        }
        self.limit = self
            .candidates
            .get(neighbours)
            .map_or(f64::INFINITY, |candidate| candidate.most * (1.0 + 8.0 * f64::EPSILON));
    }
}
