//! Nearest neighbours and balls: fast bounds of squared distances, and exact values where the bounds do not decide.
//!
//! A matrix product in `f32` of centred and scaled features gives `|a|² + |b|² − 2 a·b`. Its error is at most
//! γ (|a|² + |b|²) with γ = (D + 16) u / (1 − (D + 16) u) and u = 2⁻²⁴, for any order of summation:
//! D u for the product (Higham, "Accuracy and stability of numerical algorithms", 2002, section 3.1), 4 u for the
//! rounding of centred features, the rest as reserve. Features are scaled by a power of two to at most 1, so that
//! nothing overflows, and underflow costs at most D 2⁻¹²⁰. If the bounds do not decide, [`squared_distance`] does.
//!
//! Memory is one `f32` copy of each set and one tile of products.

use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::{Array1, Array2, ArrayView2, CowArray, Ix2, Zip};
use rayon::prelude::*;
use tch::Tensor;

use super::matrix;
use crate::error::{Error, Result};

/// Rows of each set that are multiplied at once.
pub const TILE: usize = 1024;
/// Half the distance of 1 to the next larger `f32`.
const UNIT: f64 = 1.0 / 16_777_216.0;
/// Number of candidates for the nearest neighbours that are kept before they are measured.
const CANDIDATES: usize = 64;
/// Partial sums of [`squared_distance`], so that it becomes vector instructions.
const LANES: usize = 16;

/// The squared distance of two rows, in `f64`, as the sum of squared differences. To exchange the rows changes no bit, and
/// equal rows have 0.
pub fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    let rest: f64 = rest.map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2)).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((sum, &a), &b) in sums.iter_mut().zip(a).zip(b) {
            let apart = f64::from(a) - f64::from(b);
            *sum += apart * apart;
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// A set of features, ready for products.
pub(super) struct Points<'a> {
    /// `[N, D]` in C order.
    rows: CowArray<'a, f32, Ix2>,
    /// Centred, scaled and rounded `[N, D]`.
    rounded: Tensor,
    /// Squared lengths of the rounded rows `[N]`.
    squares: Vec<f64>,
    /// Square of the scale.
    scale: f64,
    tile: usize,
}

/// Both sets around the mean of the first, in tiles of `tile` rows.
pub(super) fn points<'a>(
    real: ArrayView2<'a, f32>,
    generated: ArrayView2<'a, f32>,
    tile: usize,
) -> Result<[Points<'a>; 2]> {
    let mut centre = Array1::<f64>::zeros(real.ncols());
    for row in real.rows() {
        Zip::from(&mut centre).and(row).for_each(|sum, &x| *sum += f64::from(x));
    }
    centre /= real.nrows() as f64;
    let furthest = |set: ArrayView2<'_, f32>| {
        let of = |row: ndarray::ArrayView1<'_, f32>| {
            row.iter().zip(&centre).fold(0.0, |most: f64, (&x, c)| most.max((f64::from(x) - c).abs()))
        };
        set.rows().into_iter().map(of).fold(0.0, f64::max)
    };
    let furthest = furthest(real).max(furthest(generated));
    let exponent = if furthest > 0.0 { furthest.log2().ceil().clamp(-200.0, 200.0) as i32 + 1 } else { 0 };
    let scale = 2.0_f64.powi(-exponent);
    let make = |rows: ArrayView2<'a, f32>| -> Result<Points<'a>> {
        let mut rounded = Array2::<f32>::zeros(rows.dim());
        for (mut target, row) in rounded.rows_mut().into_iter().zip(rows.rows()) {
            Zip::from(&mut target).and(row).and(&centre).for_each(|target, &x, c| {
                *target = ((f64::from(x) - c) * scale) as f32;
            });
        }
        let square = |row: ndarray::ArrayView1<'_, f32>| row.iter().map(|&x| f64::from(x).powi(2)).sum();
        let squares = rounded.rows().into_iter().map(square).collect();
        let rounded = matrix::tensor(rounded.view())?;
        Ok(Points { rows: cow(rows), rounded, squares, scale: scale * scale, tile })
    };
    Ok([make(real)?, make(generated)?])
}

/// The rows themselves, or a copy in C order.
fn cow(rows: ArrayView2<'_, f32>) -> CowArray<'_, f32, Ix2> {
    if rows.is_standard_layout() { rows.into() } else { rows.as_standard_layout().into_owned().into() }
}

/// Row `index` of a matrix in C order.
fn row<'a>(rows: &'a CowArray<'_, f32, Ix2>, index: usize) -> &'a [f32] {
    let width = rows.ncols();
    rows.as_slice().and_then(|cells| cells.get(index * width..(index + 1) * width)).unwrap_or_default()
}

impl Points<'_> {
    fn starts(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.squares.len()).step_by(self.tile)
    }

    fn rounded(&self, start: usize) -> Result<Tensor> {
        let length = self.tile.min(self.squares.len() - start);
        Ok(self.rounded.f_narrow(0, start as i64, length as i64)?)
    }

    /// The k-th smallest squared distance of each row to the other rows of the set, which has more than `neighbours` rows.
    pub(super) fn radii(&self, neighbours: usize) -> Result<Vec<f64>> {
        // Tensors do not go to other threads.
        let (rows, squares, scale) = (&self.rows, &self.squares, self.scale);
        let error = Slack::new(rows.ncols());
        let mut nearest: Vec<Nearest> =
            squares.iter().map(|_| Nearest { limit: f64::INFINITY, ..Nearest::default() }).collect();
        let mut scan = |top: usize, left: usize, products: &Tensor| -> Result<()> {
            let (count, columns) = products.size2()?;
            let (products, columns) = (matrix::cells::<f32>(products)?, columns as usize);
            let others = &squares[left..left + columns];
            let scanned = &mut nearest[top..top + count as usize];
            scanned.par_iter_mut().zip(products.par_chunks(columns)).enumerate().for_each(
                |(i, (nearest, products))| {
                    let own = squares[top + i];
                    for ((j, product), square) in (left..).zip(products).zip(others) {
                        let (least, most) = error.around(own, *square, *product);
                        if least <= nearest.limit {
                            nearest.add(Candidate { row: j, least, most }, neighbours, |j| {
                                scale * squared_distance(row(rows, top + i), row(rows, j))
                            });
                        }
                    }
                },
            );
            Ok(())
        };
        for top in self.starts() {
            let a = self.rounded(top)?;
            for left in self.starts().filter(|&left| left >= top) {
                let products = a.f_mm(&self.rounded(left)?.f_tr()?)?;
                scan(top, left, &products)?;
                // Tiles below the diagonal are those above it, transposed.
                if left > top {
                    scan(left, top, &products.f_tr()?)?;
                }
            }
        }
        let radius = |(i, mut nearest): (usize, Nearest)| {
            nearest.measure(neighbours, |j| scale * squared_distance(row(rows, i), row(rows, j)));
            // The row itself is the nearest. The scale is a power of two, so nothing is rounded.
            nearest.candidates.get(neighbours).map(|found| found.most / scale)
        };
        let radii: Option<Vec<f64>> = nearest.into_par_iter().enumerate().map(radius).collect();
        radii.ok_or_else(|| Error::measure(format!("{neighbours} neighbours need more images")))
    }
}

/// Which row is in which ball. Of each pair, the first includes the sphere of a ball, the second excludes it.
pub(super) struct Balls {
    /// Generated rows in the ball of each real one `[N]`.
    pub(super) inside: Vec<[u64; 2]>,
    /// Real rows that are in the ball of a generated one `[N]`.
    pub(super) recalled: Vec<[bool; 2]>,
    /// Generated rows that are in the ball of a real one `[M]`.
    pub(super) precise: Vec<[bool; 2]>,
}

impl Balls {
    /// Balls with the squared radii `radii` around both sets.
    pub(super) fn new(real: &Points<'_>, generated: &Points<'_>, radii: [&[f64]; 2]) -> Result<Self> {
        // Tensors do not go to other threads.
        let ([x, y], [x_squares, y_squares]) =
            ([&real.rows, &generated.rows], [&real.squares, &generated.squares]);
        let scale = real.scale;
        let error = Slack::new(x.ncols());
        let precise: Vec<[AtomicBool; 2]> = generated.squares.iter().map(|_| Default::default()).collect();
        let mut of_real = vec![([0; 2], [false; 2]); real.squares.len()];
        for top in real.starts() {
            let a = real.rounded(top)?;
            for left in generated.starts() {
                let products = a.f_mm(&generated.rounded(left)?.f_tr()?)?;
                let (rows, columns) = products.size2()?;
                let (products, columns) = (matrix::cells::<f32>(&products)?, columns as usize);
                let scanned = &mut of_real[top..top + rows as usize];
                scanned.par_iter_mut().zip(products.par_chunks(columns)).enumerate().for_each(
                    |(i, (found, products))| {
                        let i = top + i;
                        let (own, radius) = (x_squares[i], radii[0][i]);
                        for (product, j) in products.iter().zip(left..) {
                            let (least, most) = error.around(own, y_squares[j], *product);
                            let limits = [scale * radius, scale * radii[1][j]];
                            if limits.iter().all(|limit| least > *limit) {
                                continue;
                            }
                            let open = limits.iter().any(|limit| (least..=most).contains(limit));
                            // Any length below the bounds of all decided limits is enough.
                            let square = if open {
                                scale * squared_distance(row(x, i), row(y, j))
                            } else {
                                least.midpoint(most)
                            };
                            for (way, inside) in
                                [square <= limits[0], square < limits[0]].into_iter().enumerate()
                            {
                                found.0[way] += u64::from(inside);
                                if inside {
                                    precise[j][way].store(true, Ordering::Relaxed);
                                }
                            }
                            found.1[0] |= square <= limits[1];
                            found.1[1] |= square < limits[1];
                        }
                    },
                );
            }
        }
        let (inside, recalled) = of_real.into_iter().unzip();
        let precise = precise.into_iter().map(|flags| flags.map(AtomicBool::into_inner)).collect();
        Ok(Self { inside, recalled, precise })
    }
}

/// Bounds of rounding errors; see the [module](self).
struct Slack {
    relative: f64,
    absolute: f64,
}

impl Slack {
    fn new(width: usize) -> Self {
        let share = (width as f64 + 16.0) * UNIT;
        let relative = if share < 0.5 { share / (1.0 - share) } else { f64::MAX };
        Self { relative, absolute: width as f64 * 2.0_f64.powi(-120) }
    }

    /// Bounds of the squared distance of two rows with these squared lengths and this product.
    fn around(&self, a: f64, b: f64, product: f32) -> (f64, f64) {
        let square = a + b - 2.0 * f64::from(product);
        let slack = self.relative * (a + b) + self.absolute;
        (square - slack, square + slack)
    }
}

/// Rows that may be among the nearest ones.
#[derive(Clone, Default)]
struct Nearest {
    /// No row further away is among them.
    limit: f64,
    candidates: Vec<Candidate>,
    /// Number of candidates at which they are filtered next.
    full: usize,
}

/// A row and bounds of its squared distance, which are equal after a measurement.
#[derive(Clone, Copy)]
struct Candidate {
    row: usize,
    least: f64,
    most: f64,
}

impl Nearest {
    fn add(&mut self, candidate: Candidate, neighbours: usize, square: impl Fn(usize) -> f64) {
        self.candidates.push(candidate);
        if self.candidates.len() > self.full.max(2 * neighbours + 2) {
            self.narrow(neighbours);
            // The bounds cannot separate many of them: measure, and keep only the nearest.
            if self.candidates.len() > CANDIDATES.max(4 * neighbours) {
                self.measure(neighbours, square);
            }
            self.full = self.candidates.len() + CANDIDATES / 4;
        }
    }

    /// Removes rows that the bounds of the others exclude.
    fn narrow(&mut self, neighbours: usize) {
        if self.candidates.len() > neighbours {
            let by_most = |a: &Candidate, b: &Candidate| a.most.total_cmp(&b.most);
            let (_, limit, _) = self.candidates.select_nth_unstable_by(neighbours, by_most);
            self.limit = limit.most;
        }
        let limit = self.limit;
        self.candidates.retain(|candidate| candidate.least <= limit);
    }

    /// Keeps the k + 1 nearest, sorted, with their measured distances.
    fn measure(&mut self, neighbours: usize, square: impl Fn(usize) -> f64) {
        self.narrow(neighbours);
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.least < candidate.most) {
            candidate.least = square(candidate.row);
            candidate.most = candidate.least;
        }
        self.candidates.sort_by(|a, b| a.most.total_cmp(&b.most));
        self.candidates.truncate(neighbours + 1);
        if let Some(last) = self.candidates.get(neighbours) {
            self.limit = last.most;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Small grids, so that distances repeat; one column far from the others.
    fn sets() -> impl Strategy<Value = (Array2<f32>, Array2<f32>)> {
        (5_usize..40, 5_usize..40, 1_usize..40, -20_i32..60).prop_flat_map(|(n, m, d, exponent)| {
            let set = move |rows: usize| {
                prop::collection::vec(-2_i8..3, rows * d).prop_map(move |cells| {
                    let unit = 2.0_f32.powi(exponent);
                    let cells = cells.into_iter().map(|x| (f32::from(x) + 1000.0) * unit).collect();
                    Array2::from_shape_vec((rows, d), cells).unwrap()
                })
            };
            (set(n), set(m))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn radii_and_balls_equal_their_definition_in_tiles_of_any_size(
            (real, generated) in sets(), tile in 1_usize..50, k in 1_usize..5,
        ) {
            let apart = |a: &Array2<f32>, i: usize, b: &Array2<f32>, j: usize| {
                squared_distance(&a.row(i).to_vec(), &b.row(j).to_vec())
            };
            let radius = |set: &Array2<f32>| -> Vec<f64> {
                (0..set.nrows()).map(|i| {
                    let mut all: Vec<f64> = (0..set.nrows()).map(|j| apart(set, i, set, j)).collect();
                    all.sort_by(f64::total_cmp);
                    all[k]
                }).collect()
            };
            let [x, y] = points(real.view(), generated.view(), tile).unwrap();
            let radii = [x.radii(k).unwrap(), y.radii(k).unwrap()];
            prop_assert_eq!(&radii[0], &radius(&real));
            prop_assert_eq!(&radii[1], &radius(&generated));
            let balls = Balls::new(&x, &y, [&radii[0], &radii[1]]).unwrap();
            for way in 0..2 {
                let inside = |square: f64, radius: f64| if way == 0 { square <= radius } else { square < radius };
                for i in 0..real.nrows() {
                    let squares: Vec<f64> =
                        (0..generated.nrows()).map(|j| apart(&real, i, &generated, j)).collect();
                    let count = squares.iter().filter(|&&s| inside(s, radii[0][i])).count() as u64;
                    prop_assert_eq!(balls.inside[i][way], count);
                    let recalled = squares.iter().zip(&radii[1]).any(|(&s, &r)| inside(s, r));
                    prop_assert_eq!(balls.recalled[i][way], recalled);
                }
                for j in 0..generated.nrows() {
                    let precise = (0..real.nrows())
                        .any(|i| inside(apart(&real, i, &generated, j), radii[0][i]));
                    prop_assert_eq!(balls.precise[j][way], precise);
                }
            }
        }
    }

    #[test]
    fn numbers_at_the_ends_of_f32_neither_overflow_nor_vanish() {
        for unit in [f32::MAX, 1e30, 1e-30, f32::from_bits(8)] {
            let place = |(i, j): (usize, usize)| if j == 0 { unit * (i as f32 / 8.0) } else { 0.0 };
            let set = Array2::from_shape_fn((6, 3), place);
            let [x, _] = points(set.view(), set.view(), 4).unwrap();
            let expected = f64::from(unit / 8.0).powi(2);
            for found in x.radii(1).unwrap() {
                assert!((found - expected).abs() <= 1e-6 * expected, "{unit}: {found} {expected}");
            }
        }
    }
}
