//! The patch discriminator: convolutions whose every output judges one part of the image.
//!
//! Source: `NLayerDiscriminator` in `modules/discriminator/model.py` of taming-transformers. Spectral norm (Miyato et al.
//! 2018) is optional.

use tch::{Device, Kind, Tensor};
use var_eval::metrics::lpips::ForwardCost;
use var_tokenizer::random::Stream;
use var_tokenizer::weights::{Builder, Init, Parameters, Storage};

use super::batch_norm::BatchNorm;
pub(crate) use super::batch_norm::Statistics;
use crate::distributed::Ranks;
use crate::error::{Error, Result};

/// Slope of the activation below 0.
const SLOPE: f64 = 0.2;
/// Sides of every filter, in pixels.
const KERNEL: i64 = 4;
/// Channels of the widest layer, as a multiple of the first.
const WIDEST: usize = 8;

/// The shape of a discriminator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Convolutions with stride 2.
    pub layers: usize,
    /// Channels of the first layer.
    pub width: usize,
    /// Divides each filter by its largest singular value.
    pub spectral_norm: bool,
}

impl Shape {
    /// Side of the map of logits for images of `side` pixels; 0 when none is left.
    pub(crate) fn logits(self, side: usize) -> usize {
        let strided =
            (0..self.layers).fold(side, |side, _| (side + 2).saturating_sub(KERNEL as usize) / 2 + 1);
        strided.saturating_sub(2)
    }

    /// The cost of a forward pass of one image of `side` pixels.
    pub(crate) fn cost(self, side: usize) -> ForwardCost {
        let mut cost = ForwardCost { parameters: 0, flops: 0.0, kept: 3 * side * side };
        let (mut inputs, mut side) = (3, side);
        for n in 0..=self.layers + 1 {
            let outputs = if n > self.layers { 1 } else { channels(self.width, n) };
            side = if n < self.layers { side / 2 } else { side.saturating_sub(1) };
            let (filter, map) = (inputs * (KERNEL * KERNEL) as usize * outputs, side * side);
            cost.parameters += filter + 2 * outputs;
            cost.flops += 2.0 * (filter * map) as f64;
            // Convolution, norm and activation.
            cost.kept += if n > self.layers { map } else { 3 * outputs * map };
            inputs = outputs;
        }
        cost
    }

    /// Checks that images of `side` pixels leave at least one logit.
    pub(crate) fn check_side(self, side: usize) -> Result<()> {
        if self.logits(side) > 0 {
            return Ok(());
        }
        let fits = (1..self.layers).rev().find(|&layers| Self { layers, ..self }.logits(side) > 0);
        Err(Error::config(format!(
            "adversary.layers = {}: images of {side} pixels leave the discriminator no logit. {}",
            self.layers,
            fits.map_or_else(|| "Train on larger images".to_owned(), |n| format!("At most {n} fit"))
        )))
    }
}

/// Channels of layer `n` of a discriminator with `width` channels in the first.
fn channels(width: usize, n: usize) -> usize {
    width * WIDEST.min(1 << n.min(8))
}

/// A convolution, with batch norm and activation where the layer has them.
#[derive(Debug)]
struct Layer {
    weight: Tensor,
    bias: Option<Tensor>,
    norm: Option<BatchNorm>,
    stride: i64,
    /// Slope of the activation below 0, `[1]`; the last layer has none.
    slope: Option<Tensor>,
    /// Estimate of the first left singular vector, `[outputs]`.
    singular: Option<Tensor>,
}

impl Layer {
    fn new(
        b: &mut Builder<'_>,
        number: usize,
        [inputs, outputs]: [i64; 2],
        stride: i64,
        place: Place,
    ) -> Self {
        let mut conv = b.sub(number);
        let weight = conv.parameter("weight", &[outputs, inputs, KERNEL, KERNEL], Init::Normal(0.02));
        let bound = 1.0 / ((inputs * KERNEL * KERNEL) as f64).sqrt();
        let bias = (place != Place::Middle).then(|| conv.parameter("bias", &[outputs], Init::Uniform(bound)));
        let norm = (place == Place::Middle).then(|| BatchNorm::new(b.sub(number + 1), outputs));
        let slope = (place != Place::Last).then(|| Tensor::full([1], SLOPE, (Kind::Float, weight.device())));
        Self { weight, bias, norm, stride, slope, singular: None }
    }

    /// The filter, divided by its largest singular value where spectral norm is on.
    fn filter(&self) -> Result<Tensor> {
        let Some(left) = &self.singular else { return Ok(self.weight.shallow_clone()) };
        let matrix = self.weight.f_flatten(1, -1)?;
        let right = tch::no_grad(|| -> Result<Tensor> { normalised(&matrix.f_tr()?.f_mv(left)?) })?;
        let value = matrix.f_mv(&right)?.f_dot(left)?;
        Ok(self.weight.f_div(&value)?)
    }

    /// One round of power iteration.
    fn iterate(&mut self) -> Result<()> {
        let Some(left) = &mut self.singular else { return Ok(()) };
        tch::no_grad(|| {
            let matrix = self.weight.f_flatten(1, -1)?;
            let right = normalised(&matrix.f_tr()?.f_mv(left)?)?;
            left.f_copy_(&normalised(&matrix.f_mv(&right)?)?)?;
            Ok(())
        })
    }

    fn forward(&self, x: &Tensor, statistics: Statistics, ranks: Ranks) -> Result<Tensor> {
        let stride = [self.stride; 2];
        let mut y = x.f_conv2d(&self.filter()?, self.bias.as_ref(), stride, [1, 1], [1, 1], 1)?;
        if let Some(norm) = &self.norm {
            y = norm.forward(&y, statistics, ranks)?;
        }
        Ok(match &self.slope {
            Some(slope) => y.f_prelu(slope)?,
            None => y,
        })
    }
}

/// A vector divided by its norm.
fn normalised(x: &Tensor) -> Result<Tensor> {
    Ok(x.f_div(&x.f_norm()?.f_clamp_min(1e-12)?)?)
}

/// Rounds of power iteration before the first step. A start from noise alone would take filters for smaller than they are.
const FIRST_ROUNDS: usize = 15;

/// Where a layer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    First,
    Middle,
    Last,
}

/// The discriminator with its parameters.
#[derive(Debug)]
pub(crate) struct Discriminator {
    parameters: Parameters,
    layers: Vec<Layer>,
    ranks: Ranks,
}

impl Discriminator {
    /// A discriminator on `device`, initialised from `seed`, or with zeros for a golden case to fill.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn new(shape: Shape, device: Device, seed: Option<u64>) -> Result<Self> {
        let mut parameters = Parameters::new(device, seed, Storage::PLAIN);
        let mut root = parameters.builder();
        let mut b = root.sub("main");
        let width = |n: usize| channels(shape.width, n) as i64;
        let mut layers = vec![Layer::new(&mut b, 0, [3, width(0)], 2, Place::First)];
        for n in 1..=shape.layers {
            let stride = if n < shape.layers { 2 } else { 1 };
            layers.push(Layer::new(&mut b, 3 * n - 1, [width(n - 1), width(n)], stride, Place::Middle));
        }
        layers.push(Layer::new(&mut b, 3 * shape.layers + 2, [width(shape.layers), 1], 1, Place::Last));
        if shape.spectral_norm {
            for (n, layer) in layers.iter_mut().enumerate() {
                let outputs = layer.weight.size().first().copied().unwrap_or(1);
                let left = b.sub(format!("spectral.{n}")).buffer("left", &[outputs], 0.0);
                let stream = Stream::new("spectral-norm", seed.unwrap_or(0)).at(n as u64);
                let values: Vec<f32> = (0..outputs as u64).map(|i| stream.normal(i) as f32).collect();
                let values = Tensor::from_slice(&values);
                tch::no_grad(|| left.shallow_clone().copy_(&(&values / values.norm())));
                layer.singular = Some(left);
            }
        }
        let mut made = Self { parameters, layers, ranks: Ranks::ALONE };
        for _ in 0..FIRST_ROUNDS {
            made.iterate()?;
        }
        Ok(made)
    }

    /// Judges the part of this rank in every batch. Batch norm then uses the statistics of the whole batch.
    pub(crate) fn among(&mut self, ranks: Ranks) {
        self.ranks = ranks;
    }

    /// All parameters and buffers under the published names.
    pub(crate) fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// All parameters, to fill them.
    pub(crate) fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// Improves the estimates of spectral norm by one round; the discriminator's step does so once.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn iterate(&mut self) -> Result<()> {
        self.layers.iter_mut().try_for_each(Layer::iterate)
    }

    /// Images `[B, 3, H, W]` in [-1, 1] → logits `[B, 1, h, w]`, positive for real ones.
    ///
    /// # Errors
    /// When the images are too small, or libtorch fails.
    pub(crate) fn forward(&self, images: &Tensor, statistics: Statistics) -> Result<Tensor> {
        let mut x = images.shallow_clone();
        for layer in &self.layers {
            x = layer.forward(&x, statistics, self.ranks)?;
        }
        Ok(x)
    }
}

/// Turns gradients of `parameters` on or off, and back when dropped.
#[derive(Debug)]
pub(crate) struct Frozen<'a>(&'a Parameters);

impl<'a> Frozen<'a> {
    /// Freezes the parameters.
    pub(crate) fn new(parameters: &'a Parameters) -> Self {
        parameters.set_requires_grad(false);
        Self(parameters)
    }
}

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.set_requires_grad(true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Shape = Shape { layers: 2, width: 8, spectral_norm: false };

    fn images(batch: i64, side: i64) -> Tensor {
        var_tokenizer::weights::portable::normal("images", 3, &[batch, 3, side, side])
    }

    #[test]
    fn the_map_of_logits_has_the_side_that_the_shape_says() {
        for (layers, side) in [(1, 16), (2, 32), (2, 17), (3, 32), (3, 50)] {
            let shape = Shape { layers, ..SMALL };
            let d = Discriminator::new(shape, Device::Cpu, Some(1)).unwrap();
            let logits = d.forward(&images(2, side as i64), Statistics::Batch).unwrap();
            let expected = shape.logits(side) as i64;
            assert_eq!(logits.size(), [2, 1, expected, expected]);
        }
    }

    #[test]
    fn the_cost_counts_the_parameters_that_are_there() {
        for (layers, width) in [(1, 4), (2, 32), (3, 64)] {
            let shape = Shape { layers, width, spectral_norm: false };
            let d = Discriminator::new(shape, Device::Cpu, Some(1)).unwrap();
            let found: usize = d.parameters().trainable().map(|p| p.tensor.numel()).sum();
            let counted = shape.cost(64).parameters;
            // Counted with two vectors per layer; the first and the last layer have one.
            let vectors = width + 1;
            assert_eq!(counted, found + vectors);
        }
    }

    #[test]
    fn too_small_images_are_refused_with_the_number_of_layers_that_fits() {
        let error = Shape { layers: 3, ..SMALL }.check_side(16).unwrap_err().to_string();
        assert!(error.contains("16 pixels") && error.contains("At most 2 fit"), "{error}");
        SMALL.check_side(16).unwrap();
    }

    #[test]
    fn spectral_norm_brings_the_largest_singular_value_of_each_filter_to_one() {
        let mut d = Discriminator::new(Shape { spectral_norm: true, ..SMALL }, Device::Cpu, Some(1)).unwrap();
        let largest = |d: &Discriminator| -> Vec<f64> {
            let filters = d.layers.iter().map(|layer| layer.filter().unwrap().flatten(1, -1));
            filters.map(|filter| filter.svd(true, false).1.max().double_value(&[])).collect()
        };
        // The first step already has a fair estimate, and more rounds an exact one.
        assert!(largest(&d).iter().all(|value| (0.99..1.1).contains(value)), "{:?}", largest(&d));
        for _ in 0..200 {
            d.iterate().unwrap();
        }
        assert!(largest(&d).iter().all(|value| (value - 1.0).abs() < 1e-3), "{:?}", largest(&d));
    }

    #[test]
    fn running_statistics_stay_and_batch_statistics_move_the_buffers() {
        let d = Discriminator::new(SMALL, Device::Cpu, Some(1)).unwrap();
        let mean = || d.parameters().get("main.3.running_mean").unwrap().copy();
        let before = mean();
        let _ = d.forward(&images(2, 32), Statistics::Running).unwrap();
        assert!(mean().equal(&before));
        let _ = d.forward(&images(2, 32), Statistics::Batch).unwrap();
        assert!(!mean().equal(&before));
    }
}
