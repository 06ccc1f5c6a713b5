//! Mean and covariance of features, accumulated from batches of any size.
//!
//! Sums are in `f64`. Rows are collected into blocks of [`BLOCK`] rows, independent of the batches. Each block is centred on
//! its own mean and squared, and then added by the pairwise formula of Chan, Golub and LeVeque ("Algorithms for computing
//! the sample variance", 1983). So the result has the same bits for any batches, an offset of the features costs no digits,
//! and memory is one block and one covariance: 50 MB for 2048 features.

use ndarray::{Array1, Array2, ArrayView2, Axis};
use tch::{Device, Kind, Tensor};

use super::spectrum;
use crate::error::{Error, Result};
use crate::metrics::matrix;

/// Rows that are squared at once.
pub const BLOCK: usize = 1024;
/// Columns of a strip of the covariance: only strips below the diagonal are computed.
const STRIP: i64 = 256;
/// Maximum features per image; the covariance of 16,384 takes 2 GB.
pub const WIDEST: usize = 1 << 14;

/// Mean and covariance of a set of features.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaussian {
    /// Mean `[D]`.
    pub mean: Array1<f64>,
    /// Covariance `[D, D]`, divided by N − 1.
    pub covariance: Array2<f64>,
    /// Number of images N; `None` if a file does not say.
    pub count: Option<u64>,
}

impl Gaussian {
    /// From mean `[D]` and covariance `[D, D]`.
    ///
    /// # Errors
    /// When the shapes do not fit together, a number is not finite, there are fewer than two images, or the matrix is not a
    /// covariance: not symmetric, or with an eigenvalue below 0 by more than rounding.
    pub fn new(mean: Array1<f64>, covariance: Array2<f64>, count: Option<u64>) -> Result<Self> {
        let width = mean.len();
        if width == 0 || width > WIDEST || covariance.dim() != (width, width) {
            let (rows, columns) = covariance.dim();
            return Err(Error::measure(format!(
                "a mean of {width} numbers and a covariance of {rows} × {columns}: expected [D] and [D, D], D from 1 to {WIDEST}"
            )));
        }
        let gaussian = Self::computed(mean, covariance, count)?;
        spectrum::check(&gaussian.covariance)?;
        Ok(gaussian)
    }

    /// From a valid mean and covariance; checks only the count and overflow.
    fn computed(mean: Array1<f64>, covariance: Array2<f64>, count: Option<u64>) -> Result<Self> {
        if let Some(count) = count.filter(|&count| count < 2) {
            return Err(Error::measure(format!("a covariance needs at least two images, got {count}")));
        }
        let numbers = [("mean", mean.view().into_dyn()), ("covariance", covariance.view().into_dyn())];
        for (what, numbers) in numbers {
            let bad = numbers.iter().filter(|x| !x.is_finite()).count();
            if bad > 0 {
                return Err(Error::measure(format!(
                    "{bad} of {} numbers of the {what} are not finite; compute the statistics again",
                    numbers.len()
                )));
            }
        }
        Ok(Self { mean, covariance, count })
    }

    /// Mean and covariance of `features` `[N, D]`.
    ///
    /// # Errors
    /// As [`Accumulator`].
    pub fn of(features: ArrayView2<'_, f32>) -> Result<Self> {
        let mut accumulator = Accumulator::new(features.ncols())?;
        accumulator.push(features)?;
        accumulator.finish()
    }

    /// Number of features, D.
    pub fn width(&self) -> usize {
        self.mean.len()
    }
}

/// Accumulates a [`Gaussian`] from batches.
///
/// ```
/// use ndarray::array;
/// use var_eval::statistics::Accumulator;
///
/// let mut accumulator = Accumulator::new(2)?;
/// accumulator.push(array![[1.0, 0.0], [3.0, 0.0]].view())?;
/// accumulator.push(array![[2.0, 3.0]].view())?;
/// let gaussian = accumulator.finish()?;
/// assert_eq!(gaussian.mean, array![2.0, 1.0]);
/// assert_eq!(gaussian.covariance, array![[1.0, 0.0], [0.0, 3.0]]);
/// # Ok::<(), var_eval::Error>(())
/// ```
#[derive(Debug)]
pub struct Accumulator {
    /// Rows of the next block, in C order.
    waiting: Vec<f32>,
    width: usize,
    /// Number of rows in `mean` and `scatter`, without the next block.
    squared: u64,
    /// `[D]`
    mean: Tensor,
    /// Sum of the outer products of centred rows `[D, D]`: right on and below the diagonal, and in the strips.
    scatter: Tensor,
}

impl Accumulator {
    /// An empty accumulator for `width` features per image.
    ///
    /// # Errors
    /// When `width` is 0 or more than [`WIDEST`], or memory runs out.
    pub fn new(width: usize) -> Result<Self> {
        if !(1..=WIDEST).contains(&width) {
            return Err(Error::measure(format!("{width} features per image: expected 1 to {WIDEST}")));
        }
        let (side, options) = (width as i64, (Kind::Double, Device::Cpu));
        let (mean, scatter) = (Tensor::f_zeros([side], options)?, Tensor::f_zeros([side, side], options)?);
        Ok(Self { waiting: Vec::new(), width, squared: 0, mean, scatter })
    }

    /// Number of rows so far.
    pub fn count(&self) -> u64 {
        self.squared + (self.waiting.len() / self.width) as u64
    }

    /// Adds the rows of `batch` `[B, D]`.
    ///
    /// # Errors
    /// When it has another width or a number that is not finite (then it adds nothing), or libtorch fails.
    pub fn push(&mut self, batch: ArrayView2<'_, f32>) -> Result<()> {
        matrix::same_width(self.width, batch.ncols())?;
        if batch.nrows() == 0 {
            return Ok(());
        }
        matrix::check("features", batch)?;
        let mut rest = batch;
        while rest.nrows() > 0 {
            let free = BLOCK - self.waiting.len() / self.width;
            let (head, tail) = rest.split_at(Axis(0), free.min(rest.nrows()));
            self.waiting.extend(head.iter());
            rest = tail;
            if self.waiting.len() == BLOCK * self.width {
                self.square()?;
            }
        }
        Ok(())
    }

    /// The mean and covariance of all rows.
    ///
    /// # Errors
    /// When there are fewer than two rows, or sums overflow.
    pub fn finish(mut self) -> Result<Gaussian> {
        self.square()?;
        let divisor = self.squared.saturating_sub(1).max(1);
        let lower = self.scatter.f_tril(0)?;
        let covariance = lower.f_add(&self.scatter.f_tril(-1)?.f_tr()?)?;
        let covariance = covariance.f_div_scalar(divisor as f64)?;
        let mean = Array1::from_vec(matrix::cells(&self.mean)?);
        Gaussian::computed(mean, matrix::matrix(&covariance)?, Some(self.squared))
    }

    /// Adds the next block to mean and scatter.
    fn square(&mut self) -> Result<()> {
        let rows = self.waiting.len() / self.width;
        if rows == 0 {
            return Ok(());
        }
        let block = ArrayView2::from_shape((rows, self.width), &self.waiting)
            .map_err(|e| Error::measure(e.to_string()))?;
        let block = matrix::double(block)?;
        self.waiting.clear();
        let mean = block.f_mean_dim([0_i64].as_slice(), false, Kind::Double)?;
        let centred = block.f_sub(&mean)?;
        self.join(rows as u64, &mean)?;
        let mut start = 0;
        while start < self.width as i64 {
            let length = STRIP.min(self.width as i64 - start);
            let strip = centred.f_narrow(1, start, length)?;
            let left = centred.f_narrow(1, 0, start + length)?;
            let mut target = self.scatter.f_narrow(0, start, length)?.f_narrow(1, 0, start + length)?;
            let _ = target.f_addmm_(&strip.f_tr()?, &left)?;
            start += length;
        }
        Ok(())
    }

    /// Updates the mean for `count` more rows with mean `mean`, and adds the distance of the two means to the scatter.
    fn join(&mut self, count: u64, mean: &Tensor) -> Result<()> {
        let total = self.squared + count;
        if self.squared == 0 {
            self.mean = mean.copy();
            self.squared = count;
            return Ok(());
        }
        let apart = mean.f_sub(&self.mean)?;
        let share = count as f64 / total as f64;
        let _ = self.scatter.f_addr_(&apart.f_mul_scalar(self.squared as f64 * share)?, &apart)?;
        let _ = self.mean.f_add_(&apart.f_mul_scalar(share)?)?;
        self.squared = total;
        Ok(())
    }
}
