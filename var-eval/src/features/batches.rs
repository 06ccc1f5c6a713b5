//! Runs a network over images in small batches; the results are arrays.

use image::RgbImage;
use ndarray::{Array2, s};
use tch::{Device, Kind, Tensor};

use super::network::{Activations, Identity};
use crate::error::{Error, Result};

/// Features `[B, D]`, logits `[B, C]` and spatial features `[B, S]` of one batch.
pub(super) type Outputs = (Tensor, Option<Tensor>, Option<Tensor>);

/// Runs `pictures` through `forward`, at most `batch` at once, so that memory does not grow with their number.
///
/// # Errors
/// What `forward` returns, and when its result does not have the shape that `identity` states.
pub(super) fn in_batches(
    identity: &Identity,
    pictures: &[RgbImage],
    batch: usize,
    forward: impl Fn(&[RgbImage]) -> Result<Outputs>,
) -> Result<Activations> {
    let _no_grad = tch::no_grad_guard();
    let count = pictures.len();
    let room = |columns: usize| Array2::zeros((count, columns));
    let optional = |columns: usize| (columns > 0).then(|| room(columns));
    let mut features = room(identity.width);
    let (mut logits, mut spatial) = (optional(identity.classes), optional(identity.spatial));
    for (part, begin) in pictures.chunks(batch.max(1)).zip((0..).step_by(batch.max(1))) {
        let (found, found_logits, found_spatial) = forward(part)?;
        let rows = s![begin..begin + part.len(), ..];
        let put = |target: Option<&mut Array2<f32>>, tensor: Option<&Tensor>| -> Result<()> {
            if let (Some(target), Some(tensor)) = (target, tensor) {
                let found = matrix(tensor, part.len(), target.ncols())?;
                target.slice_mut(rows).assign(&found);
            }
            Ok(())
        };
        put(Some(&mut features), Some(&found))?;
        put(logits.as_mut(), found_logits.as_ref())?;
        put(spatial.as_mut(), found_spatial.as_ref())?;
    }
    Ok(Activations { features, logits, spatial })
}

/// `tensor` as an array of `rows` × `columns`.
///
/// # Errors
/// When it has another shape, or cannot be copied to the processor.
pub(crate) fn matrix(tensor: &Tensor, rows: usize, columns: usize) -> Result<Array2<f32>> {
    if tensor.size() != [rows as i64, columns as i64] {
        let message =
            format!("the network returned {:?} for {rows} images, expected {columns} columns", tensor.size());
        return Err(var_tokenizer::Error::Torch(message).into());
    }
    let flat = tensor.f_to_device(Device::Cpu)?.f_to_kind(Kind::Float)?.f_contiguous()?.f_view([-1])?;
    let values = Vec::<f32>::try_from(&flat)?;
    let found = values.len();
    Array2::from_shape_vec((rows, columns), values).map_err(|_| Error::Bytes {
        width: columns,
        height: rows,
        channels: 1,
        expected: rows * columns,
        found,
    })
}
