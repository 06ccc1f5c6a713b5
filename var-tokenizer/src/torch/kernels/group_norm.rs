//! GroupNorm, with the SiLU that follows it in every convolution block.

use tch::Tensor;

use crate::error::Result;

/// Normalises `x` `[B, C, H, W]` over `groups` groups of channels, applies the affine map (`weight`,
/// `bias` `[C]`, f32) and, if `silu`, `y·sigmoid(y)`. The result has the kind of `x`.
///
/// # Errors
/// When shapes do not fit.
pub fn group_norm_silu(
    x: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    groups: i64,
    eps: f64,
    silu: bool,
) -> Result<Tensor> {
    let y = x.f_group_norm(groups, Some(weight), Some(bias), eps, false)?;
    Ok(if silu { y.f_silu()? } else { y })
}
