//! The layers of feature networks: a convolution with bias and activation, and a linear layer.

use tch::{Device, Kind, Tensor};
use var_tokenizer::torch::kernels::channels_last;

use super::weights::TensorSource;
use crate::error::Result;

/// What is applied to the result of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// Nothing.
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
}

/// Shape of a convolution.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub inputs: i64,
    pub outputs: i64,
    /// Rows and columns of the filter.
    pub kernel: [i64; 2],
    pub stride: i64,
    /// Zeros above and below, left and right.
    pub padding: [i64; 2],
    /// 1, or `inputs` for a depthwise convolution.
    pub groups: i64,
}

impl Geometry {
    /// A square filter without padding, stride 1.
    pub fn square(inputs: i64, outputs: i64, size: i64) -> Self {
        Self { inputs, outputs, kernel: [size; 2], stride: 1, padding: [0; 2], groups: 1 }
    }

    /// Padding that keeps the size at stride 1 (odd filters).
    pub fn same(self) -> Self {
        Self { padding: self.kernel.map(|size| size / 2), ..self }
    }

    /// With a stride.
    pub fn stride(self, stride: i64) -> Self {
        Self { stride, ..self }
    }

    /// With a padding of `zeros` on all sides.
    pub fn padding(self, zeros: i64) -> Self {
        Self { padding: [zeros; 2], ..self }
    }

    fn weight_shape(&self) -> [i64; 4] {
        [self.outputs, self.inputs / self.groups.max(1), self.kernel[0], self.kernel[1]]
    }
}

/// A convolution with bias and activation. A batch norm after it is folded into weights and bias.
#[derive(Debug)]
pub(crate) struct Convolution {
    weight: Tensor,
    bias: Tensor,
    geometry: Geometry,
    activation: Activation,
}

impl Convolution {
    /// With a bias: `NAME.weight` and `NAME.bias`.
    pub fn biased(
        source: &mut dyn TensorSource,
        device: Device,
        name: &str,
        geometry: Geometry,
        activation: Activation,
    ) -> Result<Self> {
        let weight = source.take(&format!("{name}.weight"), &geometry.weight_shape())?;
        let bias = source.take(&format!("{name}.bias"), &[geometry.outputs])?;
        Self::laid_out(&weight, &bias, geometry, activation, device)
    }

    /// With batch norm: `CONVOLUTION.weight` and `NORM.{weight, bias, running_mean, running_var}`. The
    /// running statistics and the affine map become a factor and a bias, computed in f64.
    pub fn normalised(
        source: &mut dyn TensorSource,
        device: Device,
        (convolution, norm): (&str, &str),
        epsilon: f64,
        geometry: Geometry,
        activation: Activation,
    ) -> Result<Self> {
        let weight = source.take(&format!("{convolution}.weight"), &geometry.weight_shape())?;
        let mut vector = |leaf: &str| -> Result<Tensor> {
            let values = source.take(&format!("{norm}.{leaf}"), &[geometry.outputs])?;
            Ok(values.f_to_kind(Kind::Double)?)
        };
        let (scale, shift) = (vector("weight")?, vector("bias")?);
        let (mean, variance) = (vector("running_mean")?, vector("running_var")?);
        let factor = scale.f_div(&variance.f_add_scalar(epsilon)?.f_sqrt()?)?;
        let bias = shift.f_sub(&mean.f_mul(&factor)?)?;
        let weight = weight.f_to_kind(Kind::Double)?.f_mul(&factor.f_view([-1, 1, 1, 1])?)?;
        Self::laid_out(&weight, &bias, geometry, activation, device)
    }

    fn laid_out(
        weight: &Tensor,
        bias: &Tensor,
        geometry: Geometry,
        activation: Activation,
        device: Device,
    ) -> Result<Self> {
        let weight = channels_last(&weight.f_to_kind(Kind::Float)?.f_to_device(device)?)?;
        let bias = bias.f_to_kind(Kind::Float)?.f_to_device(device)?.f_contiguous()?;
        Ok(Self { weight, bias, geometry, activation })
    }

    /// The same with rows and columns of zeros at the start of the filter. Padding on the right and at the bottom only, as in
    /// TensorFlow, then becomes symmetric: `zeros` more on each side.
    pub fn led_by_zeros(self, zeros: i64) -> Result<Self> {
        let weight = channels_last(&self.weight.f_constant_pad_nd([zeros, 0, zeros, 0])?)?;
        let [rows, columns] = self.geometry.kernel;
        let [above, left] = self.geometry.padding;
        let geometry = Geometry {
            kernel: [rows + zeros, columns + zeros],
            padding: [above + zeros, left + zeros],
            ..self.geometry
        };
        Ok(Self { weight, geometry, ..self })
    }

    /// Numbers in weight and bias.
    pub fn parameters(&self) -> usize {
        self.weight.numel() + self.bias.numel()
    }

    /// FLOPs of one number of the output.
    pub fn flops_per_output(&self) -> f64 {
        2.0 * self.weight.numel() as f64 / self.geometry.outputs.max(1) as f64
    }

    /// `[B, inputs, H, W]` → `[B, outputs, H', W']`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let Geometry { stride, padding, groups, .. } = self.geometry;
        let mut y = x.f_conv2d(&self.weight, Some(&self.bias), [stride; 2], padding, [1_i64; 2], groups)?;
        match self.activation {
            Activation::None => {}
            Activation::Relu => {
                let _ = y.f_relu_()?;
            }
            Activation::Relu6 => {
                let _ = y.f_clamp_(0.0, 6.0)?;
            }
        }
        Ok(y)
    }
}

/// A linear layer: `weight` `[outputs, inputs]` and perhaps `bias`.
#[derive(Debug)]
pub(crate) struct Linear {
    pub weight: Tensor,
    pub bias: Tensor,
}

impl Linear {
    /// `NAME.weight` and `NAME.bias`.
    pub fn new(
        source: &mut dyn TensorSource,
        device: Device,
        name: &str,
        inputs: i64,
        outputs: i64,
    ) -> Result<Self> {
        let weight = source.take(&format!("{name}.weight"), &[outputs, inputs])?.f_to_device(device)?;
        let bias = source.take(&format!("{name}.bias"), &[outputs])?.f_to_device(device)?;
        Ok(Self { weight: weight.f_contiguous()?, bias: bias.f_contiguous()? })
    }

    /// Without the bias: `[B, inputs]` → `[B, outputs]`.
    pub fn unbiased(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_matmul(&self.weight.f_transpose(0, 1)?)?)
    }

    /// `[B, inputs]` → `[B, outputs]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(self.unbiased(x)?.f_add(&self.bias)?)
    }
}

/// The mean over rows and columns: `[B, C, H, W]` → `[B, C]`.
pub(crate) fn pooled(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_mean_dim(&[2_i64, 3][..], false, Kind::Float)?)
}

#[cfg(test)]
mod tests {
    use var_tokenizer::weights::portable::normal;

    use super::*;

    struct Normal;

    impl TensorSource for Normal {
        fn take(&mut self, name: &str, shape: &[i64]) -> Result<Tensor> {
            let values = normal(name, 7, shape);
            Ok(if name.ends_with("running_var") { values.f_abs()?.f_add_scalar(0.5)? } else { values })
        }
    }

    fn far(a: &Tensor, b: &Tensor) -> f64 {
        assert_eq!(a.size(), b.size());
        (a - b).abs().max().double_value(&[])
    }

    #[test]
    fn a_folded_batch_norm_gives_what_convolution_and_norm_give_apart() {
        let geometry = Geometry::square(5, 6, 3).same();
        let layer =
            Convolution::normalised(&mut Normal, Device::Cpu, ("c", "n"), 1e-3, geometry, Activation::Relu);
        let x = normal("x", 1, &[2, 5, 9, 7]);
        let take = |name: &str, shape: &[i64]| Normal.take(name, shape).unwrap();
        let vector = |leaf: &str| Some(take(&format!("n.{leaf}"), &[6]));
        let (scale, shift) = (vector("weight"), vector("bias"));
        let (mean, variance) = (vector("running_mean"), vector("running_var"));
        let y = x.conv2d(&take("c.weight", &[6, 5, 3, 3]), None::<Tensor>, [1, 1], [1, 1], [1, 1], 1);
        let y = y.batch_norm(scale, shift, mean, variance, false, 0.1, 1e-3, false).relu();
        assert!(far(&layer.unwrap().forward(&x).unwrap(), &y) < 1e-4);
    }

    #[test]
    fn leading_zeros_are_the_padding_that_tensorflow_puts_right_and_below() {
        for size in [3, 5] {
            let geometry = Geometry { groups: 4, ..Geometry::square(4, 4, size) }.stride(2);
            let before = (size - 2) / 2;
            let make = |geometry| {
                Convolution::biased(&mut Normal, Device::Cpu, "d", geometry, Activation::Relu6).unwrap()
            };
            let symmetric = make(geometry.padding(before)).led_by_zeros(1).unwrap();
            let x = normal("x", 2, &[2, 4, 12, 16]);
            // "Same": half as many outputs as inputs; an odd zero is at the end.
            let padded = x.constant_pad_nd([before, before + 1, before, before + 1]);
            let y = make(geometry).forward(&padded).unwrap();
            assert_eq!(y.size(), [2, 4, 6, 8]);
            assert!(far(&symmetric.forward(&x).unwrap(), &y) < 1e-5);
        }
    }
}
