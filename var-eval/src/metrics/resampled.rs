//! The Fréchet distance of many draws from one set of features to one Gaussian, as a bootstrap needs it.
//!
//! With Σ₁ = R Rᵀ, factored once, and the centred rows Y of a draw (Σ₂ = Yᵀ Y), the trace of the root is the sum of the
//! singular values of Y R. A draw of N of N rows has about 0.63 N different ones; Y has each of them once, weighted by the
//! root of its count. The squares of the singular values are the eigenvalues of a Gram matrix of that side.

use ndarray::ArrayView2;
use tch::Tensor;

use super::frechet::{factor, singular_values, sum_of_roots};
use super::matrix;
use crate::error::{Error, Result};
use crate::statistics::Gaussian;

/// A Gaussian, and a set of features. Draws of its rows are compared with the Gaussian.
#[derive(Debug)]
pub(crate) struct Draws {
    /// Mean `[D]`, trace of the covariance, and R `[D, rank]`.
    reference: (Tensor, f64, Tensor),
    /// `[N, D]`
    features: Tensor,
}

impl Draws {
    /// Factors the covariance of `reference`. `features` `[N, D]`.
    ///
    /// # Errors
    /// When the widths differ, there are no rows or numbers that are not finite, or libtorch fails.
    pub(crate) fn new(reference: &Gaussian, features: ArrayView2<'_, f32>) -> Result<Self> {
        matrix::same_width(reference.width(), features.ncols())?;
        matrix::check("samples", features)?;
        let mean = Tensor::f_from_slice(&reference.mean.to_vec())?;
        let root = factor(&matrix::tensor(reference.covariance.view())?)?;
        let reference = (mean, reference.covariance.diag().sum(), root);
        Ok(Self { reference, features: matrix::double(features)? })
    }

    /// The distance of a draw: `rows` of the features, some of which repeat.
    ///
    /// # Errors
    /// When a row does not exist, there are fewer than two, or libtorch fails.
    pub(crate) fn distance(&self, rows: &[usize]) -> Result<f64> {
        let (mean, trace, root) = &self.reference;
        let mut counts = vec![0.0; self.features.size2()?.0 as usize];
        for &row in rows {
            *counts
                .get_mut(row)
                .ok_or_else(|| Error::measure(format!("there is no row {row} to draw")))? += 1.0;
        }
        if rows.len() < 2 {
            return Err(Error::measure(format!(
                "a covariance needs at least two images, got {}",
                rows.len()
            )));
        }
        let (index, counts): (Vec<i64>, Vec<f64>) =
            (0..).zip(counts).filter(|(_, count)| *count > 0.0).unzip();
        let counts = Tensor::f_from_slice(&counts)?.f_unsqueeze(1)?;
        let different = self.features.f_index_select(0, &Tensor::f_from_slice(&index)?)?;
        let own_mean = counts.f_tr()?.f_mm(&different)?.f_squeeze_dim(0)?.f_div_scalar(rows.len() as f64)?;
        let weights = counts.f_div_scalar((rows.len() - 1) as f64)?.f_sqrt()?;
        let centred = different.f_sub(&own_mean)?.f_mul(&weights)?;
        let apart = own_mean.f_sub(mean)?;
        let traces = trace + matrix::sum(&centred.f_square()?)?;
        let roots = nuclear_norm(&centred.f_mm(root)?, traces)?;
        Ok((matrix::sum(&apart.f_square()?)? + traces - 2.0 * roots).max(0.0))
    }
}

/// The sum of the singular values of `product`. An error of 1e-10 of `scale` is allowed.
fn nuclear_norm(product: &Tensor, scale: f64) -> Result<f64> {
    let (rows, columns) = product.size2()?;
    let other = product.f_tr()?;
    let gram = if rows < columns { product.f_mm(&other)? } else { other.f_mm(product)? };
    let values = matrix::cells::<f64>(&gram.f_linalg_eigvalsh("L")?)?;
    let size = matrix::sum(&product.f_square()?)?;
    sum_of_roots(&values, size, scale).map_or_else(|| singular_values(product), Ok)
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, Axis, s};
    use var_tokenizer::random::Stream;

    use super::*;
    use crate::metrics::bootstrap::Bootstrap;
    use crate::metrics::frechet;

    /// Features of correlated columns.
    fn features(name: &str, rows: usize, columns: usize) -> Array2<f32> {
        let stream = Stream::new(name, 0);
        let mut x = Array2::from_shape_fn((rows, columns), |(i, j)| {
            stream.at(i as u64).draw(j as u64) as f32 * (j + 1) as f32
        });
        for column in 1..columns {
            let earlier = x.column(column - 1).to_owned();
            x.column_mut(column).scaled_add(0.7, &earlier);
        }
        x
    }

    #[test]
    fn a_draw_has_the_distance_of_its_rows() {
        for (theirs, ours, width) in [(40, 30, 12), (9, 30, 12), (40, 8, 12), (9, 7, 12), (40, 2, 12)] {
            let reference = Gaussian::of(features("theirs", theirs, width).view()).unwrap();
            let mut samples = features("ours", ours, width);
            // A constant feature and a repeated image.
            samples.slice_mut(s![.., 3]).fill(0.5);
            let first = samples.row(0).to_owned();
            samples.row_mut(1).assign(&first);
            let draws = Draws::new(&reference, samples.view()).unwrap();
            for number in 0..5 {
                let rows = Bootstrap::default().rows(number, ours);
                let drawn = Gaussian::of(samples.select(Axis(0), &rows).view()).unwrap();
                let expected = frechet::distance(&reference, &drawn).unwrap();
                let found = draws.distance(&rows).unwrap();
                let error = (found - expected.distance).abs() / expected.trace_sum;
                assert!(error < 1e-9, "{theirs} {ours}: {found} {}", expected.distance);
            }
        }
    }

    #[test]
    fn rows_that_do_not_exist_and_single_images_are_refused() {
        let reference = Gaussian::of(features("theirs", 9, 4).view()).unwrap();
        let draws = Draws::new(&reference, features("ours", 5, 4).view()).unwrap();
        assert!(draws.distance(&[0, 5]).unwrap_err().to_string().contains("row 5"));
        assert!(draws.distance(&[3]).unwrap_err().to_string().contains("at least two images"));
        assert!(Draws::new(&reference, features("ours", 5, 3).view()).is_err());
    }
}
