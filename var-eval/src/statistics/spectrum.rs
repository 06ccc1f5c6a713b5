//! Checks that a matrix is a covariance: symmetric, and without negative eigenvalues except for rounding.
//!
//! Rounding makes the zeros of a singular covariance (fewer images than features, constant or repeated features)
//! slightly negative. Such a covariance is valid. The bound follows from how the matrix was computed.
//! Each entry is a sum over N images. Its rounding error is about √N units in the last place of the largest entries. An
//! error e in each entry moves an eigenvalue by at most D · e, and no entry is larger than the largest eigenvalue. So an
//! eigenvalue may be below 0 by D · √N · ε times the largest one. N is 16 million, more than any published set. A matrix
//! whose numbers are all `f32` was rounded to them at the end, by half a unit in their last place, which is more.

use ndarray::Array2;

use crate::error::{Error, Result};
use crate::metrics::matrix;

/// Allowed asymmetry of a covariance, relative to its largest entry; files of `f32` have some.
const ASYMMETRY: f64 = 1e-5;
/// Root of the maximum number of images, 16 million.
const ROOT_OF_PICTURES: f64 = 4096.0;

/// Fails if the finite matrix `covariance` `[D, D]` is not a covariance.
///
/// # Errors
/// When it is not a covariance (names its smallest eigenvalue), or libtorch fails.
pub(super) fn check(covariance: &Array2<f64>) -> Result<()> {
    let entry = covariance.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let across = covariance.t();
    let apart = covariance.indexed_iter().zip(across.iter());
    let asymmetric =
        apart.map(|((at, x), y)| (at, *x, *y)).find(|(_, x, y)| (x - y).abs() > ASYMMETRY * entry);
    let tensor = matrix::tensor(covariance.view())?;
    // Faster than eigenvalues, and enough for most matrices.
    if asymmetric.is_none() && tensor.f_linalg_cholesky_ex(false, false)?.1.f_int64_value(&[])? == 0 {
        return Ok(());
    }
    let symmetric = tensor.f_add(&tensor.f_tr()?)?.f_mul_scalar(0.5)?;
    let values = matrix::cells::<f64>(&symmetric.f_linalg_eigvalsh("L")?)?;
    let smallest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let largest = values.iter().fold(0.0, |most: f64, x| most.max(x.abs()));
    let again = "compute the statistics again";
    if let Some(((row, column), x, y)) = asymmetric {
        return Err(Error::measure(format!(
            "the covariance is not symmetric: {x:e} at [{row}, {column}], {y:e} across the diagonal (smallest eigenvalue of \
             its symmetric part {smallest:e}); {again}"
        )));
    }
    let single = covariance.iter().all(|&x| f64::from(x as f32) == x);
    let unit = if single { f64::from(f32::EPSILON) } else { ROOT_OF_PICTURES * f64::EPSILON };
    let allowed = covariance.nrows() as f64 * unit * largest;
    if smallest < -allowed {
        return Err(Error::measure(format!(
            "the matrix is not a covariance: its smallest eigenvalue is {smallest:e} (the largest is {largest:e}; \
             rounding explains {:e} at most); {again}",
            -allowed
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    fn message(covariance: &Array2<f64>) -> String {
        check(covariance).unwrap_err().to_string()
    }

    #[test]
    fn a_negative_eigenvalue_is_refused_with_its_value() {
        // Eigenvalues 3 and -1.
        let text = message(&array![[1.0, 2.0], [2.0, 1.0]]);
        assert!(text.contains("smallest eigenvalue is -1e0") || text.contains("-9.99"), "{text}");
        assert!(message(&array![[-1.0, 0.0], [0.0, 2.0]]).contains("smallest eigenvalue is -1e0"));
        // Far beyond rounding, though small.
        assert!(check(&array![[1.0, 0.0], [0.0, -1e-9]]).is_err());
        assert!(message(&array![[1.0, 0.5], [0.4, 1.0]]).contains("not symmetric"));
    }

    #[test]
    fn singular_covariances_and_zeros_below_zero_by_rounding_are_valid() {
        check(&array![[1.0, 1.0], [1.0, 1.0]]).unwrap();
        check(&Array2::zeros((3, 3))).unwrap();
        check(&array![[1.0, 0.0], [0.0, -1e-13]]).unwrap();
        // Rounded to f32: the zero eigenvalue of the outer product of (1, 1/3, 1/7) is moved by about 1e-8.
        let x = [1.0, 1.0 / 3.0, 1.0 / 7.0];
        check(&Array2::from_shape_fn((3, 3), |(i, j)| f64::from((x[i] * x[j]) as f32))).unwrap();
    }

    #[test]
    fn what_counts_as_rounding_grows_with_the_largest_eigenvalue_and_the_dimension() {
        let of = |width: usize, largest: f64, smallest: f64| {
            check(&Array2::from_shape_fn((width, width), |(i, j)| match (i == j, i) {
                (true, 0) => largest,
                (true, 1) => smallest,
                _ => 0.0,
            }))
        };
        assert!(of(4, 1.0, -1e-11).is_err());
        assert!(of(4, 10.0, -1e-11).is_ok());
        assert!(of(64, 1.0, -1e-11).is_ok());
    }
}
