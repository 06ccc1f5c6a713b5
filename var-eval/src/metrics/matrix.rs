//! Conversions between `ndarray` and libtorch, whose linear algebra (MKL) the metrics use.

use ndarray::{Array2, ArrayView2};
use tch::{Kind, Tensor};

use crate::error::{Error, Result};

/// A copy of `matrix` `[R, C]` as a tensor.
pub(crate) fn tensor<T: tch::kind::Element + Clone>(matrix: ArrayView2<'_, T>) -> Result<Tensor> {
    let shape = [matrix.nrows() as i64, matrix.ncols() as i64];
    let standard = matrix.as_standard_layout();
    let cells =
        standard.as_slice().ok_or_else(|| Error::measure("the memory order of a matrix is unknown"))?;
    Ok(Tensor::f_from_slice(cells)?.f_reshape(shape)?)
}

/// A copy of `matrix` `[R, C]` as an `f64` tensor.
pub(crate) fn double(matrix: ArrayView2<'_, f32>) -> Result<Tensor> {
    Ok(tensor(matrix)?.f_to_kind(Kind::Double)?)
}

/// The cells of a tensor with this number type and any shape, in C order.
pub(crate) fn cells<T: tch::kind::Element + Clone + Default>(tensor: &Tensor) -> Result<Vec<T>> {
    let tensor = tensor.f_contiguous()?;
    let mut cells = vec![T::default(); tensor.numel()];
    tensor.f_copy_data(&mut cells, tensor.numel())?;
    Ok(cells)
}

/// The `f64` tensor `[R, C]` as a matrix.
pub(crate) fn matrix(tensor: &Tensor) -> Result<Array2<f64>> {
    let (rows, columns) = tensor.size2()?;
    Array2::from_shape_vec((rows as usize, columns as usize), cells(tensor)?)
        .map_err(|e| Error::measure(e.to_string()))
}

/// Sum of all cells.
pub(crate) fn sum(tensor: &Tensor) -> Result<f64> {
    Ok(tensor.f_sum(Kind::Double)?.f_double_value(&[])?)
}

/// Fails if `matrix` is empty or has a cell that is not finite. `what` is its name in messages.
pub(crate) fn check(what: &str, matrix: ArrayView2<'_, f32>) -> Result<()> {
    if matrix.is_empty() {
        let (rows, columns) = matrix.dim();
        return Err(Error::measure(format!(
            "{what}: {rows} × {columns} numbers; expected at least one row and one column"
        )));
    }
    let finite = |row: ndarray::ArrayView1<'_, f32>| row.iter().all(|x| x.is_finite());
    match matrix.rows().into_iter().position(|row| !finite(row)) {
        None => Ok(()),
        Some(row) => Err(Error::measure(format!(
            "{what}: row {row} has a number that is not finite; check that image and the weights of the network"
        ))),
    }
}

/// Fails if both have different numbers of columns.
pub(crate) fn same_width(reference: usize, samples: usize) -> Result<()> {
    if reference == samples {
        return Ok(());
    }
    Err(Error::measure(format!(
        "the reference has {reference} features per image, the samples have {samples}; use the same network for both"
    )))
}
