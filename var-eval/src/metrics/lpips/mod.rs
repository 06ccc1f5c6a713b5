//! LPIPS: the distance of two images in the features of a network, weighted by human judgements.
//!
//! Zhang et al. 2018, version 0.1 of the `lpips` package: features of several layers, each divided by its norm over channels;
//! squared differences, weighted by one head per layer; the mean over the image; the sum over the layers. The user gives two
//! files: torchvision's ImageNet weights (`features.N.weight`) and the heads of the package (`linK.model.1.weight`). With
//! other trunks the numbers are not LPIPS.

mod trunk;

use std::fmt;
use std::path::Path;

use image::RgbImage;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};
use var_tokenizer::files::sha256_of;
use var_tokenizer::torch::guarded;

use crate::error::{Error, Result};
use crate::features::preprocess::channels_last;
use crate::features::weights::{TensorSource, WeightsFile};

use trunk::Layer;
pub use trunk::Trunk;

/// Added to the norm over channels.
const EPSILON: f64 = 1e-10;
/// Shift of images in −1..1, per channel.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
/// Divisor after the shift, per channel.
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
/// Added to the squared norm: the gradient of a root has no value at 0. Too small to change a distance.
const SQUARED_EPSILON: f64 = 1e-12;
/// Pairs that go through the network at once.
const BATCH: usize = 8;

/// The protocol of LPIPS numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LpipsStamp {
    /// `squeeze`, `alex` or `vgg`.
    pub trunk: String,
    /// Version of LPIPS in the `lpips` package.
    pub version: String,
    /// SHA-256 of the file of the trunk; empty if it was not a file.
    pub weights_sha256: String,
    /// SHA-256 of the file of the heads; empty if it was not a file.
    pub heads_sha256: String,
}

impl fmt::Display for LpipsStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { trunk, version, weights_sha256, heads_sha256 } = self;
        write!(f, "version {version}, {trunk}; weights {weights_sha256}, heads {heads_sha256}")
    }
}

/// The cost of a forward pass of one image.
#[doc(hidden)]
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ForwardCost {
    /// Numbers in the parameters.
    pub parameters: usize,
    /// FLOPs.
    pub flops: f64,
    /// Numbers in the outputs of all layers, which a backward pass keeps.
    pub kept: usize,
}

/// A trunk with its heads.
#[derive(Debug)]
pub struct Lpips {
    stamp: LpipsStamp,
    trunk: Trunk,
    layers: Vec<Layer>,
    /// `[1, C, 1, 1]` for each layer that is compared.
    heads: Vec<Tensor>,
    shift: Tensor,
    scale: Tensor,
    device: Device,
}

impl Lpips {
    /// Builds it on `device` from the tensors of trunk and heads.
    ///
    /// # Errors
    /// When a tensor cannot be read, or memory runs out.
    pub fn new(
        trunk: Trunk,
        weights: &mut dyn TensorSource,
        heads: &mut dyn TensorSource,
        device: Device,
    ) -> Result<Self> {
        let layers = trunk.layers(weights, device)?;
        let row =
            |values: [f32; 3]| -> Result<Tensor> { Ok(Tensor::f_from_slice(&values)?.f_view([1, 3, 1, 1])?) };
        Self::assembled(trunk, layers, heads, [row(SHIFT)?, row(SCALE)?], device)
    }

    /// Loads ST-LPIPS from the file of its authors, which holds trunk, heads and constants.
    ///
    /// # Errors
    /// When `trunk` is not one of ST-LPIPS; as [`Lpips::load`].
    pub fn load_shift_tolerant(trunk: Trunk, weights: &Path, device: Device) -> Result<Self> {
        if !trunk.is_shift_tolerant() {
            return Err(Error::config(format!("{} is not a network of ST-LPIPS", trunk.name())));
        }
        guarded(|| {
            let mut file = WeightsFile::open(weights)?;
            let layers = trunk.layers(&mut file, device)?;
            let constants =
                ["shift", "scale"].map(|name| file.take(&format!("scaling_layer.{name}"), &[1, 3, 1, 1]));
            let [shift, scale] = constants;
            let mut lpips = Self::assembled(trunk, layers, &mut file, [shift?, scale?], device)?;
            lpips.stamp.weights_sha256 = file.sha256().to_owned();
            // Training leaves a copy of the heads under `lins.K`.
            file.finish(|name| name.starts_with("lins."))?;
            Ok(lpips)
        })
    }

    /// Trunk, heads and constants together.
    fn assembled(
        trunk: Trunk,
        layers: Vec<Layer>,
        heads: &mut dyn TensorSource,
        [shift, scale]: [Tensor; 2],
        device: Device,
    ) -> Result<Self> {
        let heads = (0..).zip(trunk.channels()).map(|(number, &channels): (usize, _)| {
            let head = heads.take(&format!("lin{number}.model.1.weight"), &[1, channels, 1, 1])?;
            Ok(head.f_to_device(device)?)
        });
        let heads = heads.collect::<Result<_>>()?;
        let stamp = LpipsStamp {
            trunk: trunk.name().to_owned(),
            version: if trunk.is_shift_tolerant() { "ST 0.0" } else { "0.1" }.to_owned(),
            weights_sha256: String::new(),
            heads_sha256: String::new(),
        };
        let (shift, scale) = (shift.f_to_device(device)?, scale.f_to_device(device)?);
        Ok(Self { stamp, trunk, layers, heads, shift, scale, device })
    }

    /// Loads trunk and heads from their files. Skips the classifier of the trunk.
    ///
    /// # Errors
    /// When a file cannot be read, or tensors are missing, unexpected or of another shape; one error lists all of a file.
    pub fn load(trunk: Trunk, weights: &Path, heads: &Path, device: Device) -> Result<Self> {
        guarded(|| {
            let (weights_sha256, heads_sha256) = (sha256_of(weights)?, sha256_of(heads)?);
            let (mut weights, mut heads) = (WeightsFile::open(weights)?, WeightsFile::open(heads)?);
            let mut lpips = Self::new(trunk, &mut weights, &mut heads, device)?;
            lpips.stamp = LpipsStamp { weights_sha256, heads_sha256, ..lpips.stamp };
            weights.finish(|name| name.starts_with("classifier."))?;
            // Training leaves a copy of the heads under `lins.K`.
            heads.finish(|name| name.starts_with("lins."))?;
            Ok(lpips)
        })
    }

    /// Its network.
    pub fn trunk(&self) -> Trunk {
        self.trunk
    }

    /// The protocol of its numbers.
    pub fn stamp(&self) -> &LpipsStamp {
        &self.stamp
    }

    /// Fails if an image is smaller than [`Trunk::least_side`].
    pub(crate) fn check_side(&self, width: usize, height: usize) -> Result<()> {
        let least = self.trunk.least_side() as usize;
        if width.min(height) >= least {
            return Ok(());
        }
        let (metric, name) = (self.trunk.metric(), self.trunk.name());
        Err(Error::config(format!(
            "{metric} ({name}) needs at least {least}×{least} pixels, the image has {width}×{height}"
        )))
    }

    /// The distance of each image of `samples` from its partner in `references`; pairs may differ in size
    /// from each other.
    ///
    /// # Errors
    /// When the lists differ in length or a pair in size, an image is smaller than [`Trunk::least_side`], or
    /// libtorch fails.
    pub fn distances(&self, references: &[RgbImage], samples: &[RgbImage]) -> Result<Vec<f64>> {
        if references.len() != samples.len() {
            let message = format!("LPIPS: {} references, {} samples", references.len(), samples.len());
            return Err(Error::config(message));
        }
        for (reference, sample) in references.iter().zip(samples) {
            let shape = |p: &RgbImage| (p.width() as usize, p.height() as usize, 3);
            if reference.dimensions() != sample.dimensions() {
                return Err(Error::Shapes { reference: shape(reference), sample: shape(sample) });
            }
            self.check_side(reference.width() as usize, reference.height() as usize)?;
        }
        let mut found = Vec::with_capacity(samples.len());
        while let Some(first) = references.get(found.len()) {
            let alike = references.iter().skip(found.len()).take(BATCH);
            let count = alike.take_while(|p| p.dimensions() == first.dimensions()).count();
            let range = found.len()..found.len() + count;
            let part = |of: &[RgbImage]| input(of.get(range.clone()).unwrap_or_default(), self.device);
            let layers = guarded(|| self.per_layer(&part(references)?, &part(samples)?))?;
            let sums =
                layers.f_to_kind(Kind::Double)?.f_sum_dim_intlist(&[1_i64][..], false, Kind::Double)?;
            found.extend(Vec::<f64>::try_from(&sums)?);
        }
        Ok(found)
    }

    /// The contribution of each layer to the distance of images in −1..1, both `[B, 3, H, W]`: `[B, layers]`, on the
    /// processor.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn per_layer(&self, references: &Tensor, samples: &Tensor) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let both = self.features(&Tensor::f_cat(&[references, samples], 0)?)?;
        let half = references.size().first().copied().unwrap_or(0);
        let part = |start: i64| -> Result<Vec<Tensor>> {
            both.iter().map(|x| Ok(x.f_narrow(0, start, half)?)).collect()
        };
        Ok(Tensor::f_stack(&self.compare(&part(0)?, &part(half)?)?, 1)?.f_to_device(Device::Cpu)?)
    }

    /// The features of images `[B, 3, H, W]` in −1..1, divided by their norm over channels: `[B, C, H', W']` per layer.
    /// Differentiable.
    ///
    /// # Errors
    /// When libtorch fails.
    #[doc(hidden)]
    pub fn features(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        let mut x = images.f_sub(&self.shift)?.f_div(&self.scale)?;
        let mut found = Vec::with_capacity(self.heads.len());
        for layer in &self.layers {
            if matches!(layer, Layer::Tap) {
                found.push(unit(&x)?);
            } else {
                x = layer.forward(&x)?;
            }
        }
        Ok(found)
    }

    /// What a forward pass of one image of `side` pixels costs.
    ///
    /// # Errors
    /// When libtorch fails.
    #[doc(hidden)]
    pub fn cost(&self, side: usize) -> Result<ForwardCost> {
        let side = side as i64;
        tch::no_grad(|| {
            let mut x = Tensor::f_zeros([1, 3, side, side], (Kind::Float, self.device))?;
            let mut cost = ForwardCost { parameters: 0, flops: 0.0, kept: x.numel() };
            for layer in &self.layers {
                x = layer.forward(&x)?;
                let (parameters, flops) = layer.size(&x);
                cost.parameters += parameters;
                cost.flops += flops;
                // A compared layer keeps its unit features, their squares, the other image's and the difference.
                cost.kept += if matches!(layer, Layer::Tap) { 4 } else { 1 } * x.numel();
            }
            Ok(cost)
        })
    }

    /// The contribution of each layer to the distance of images with these features: `[B]` per layer. Differentiable.
    fn compare(&self, references: &[Tensor], samples: &[Tensor]) -> Result<Vec<Tensor>> {
        let pairs = references.iter().zip(samples).zip(&self.heads);
        pairs.map(|((reference, sample), head)| weighted(reference, sample, head)).collect()
    }

    /// The mean distance of images from their partners, both given by their features: a scalar. Differentiable.
    ///
    /// # Errors
    /// When the features do not fit together, or libtorch fails.
    #[doc(hidden)]
    pub fn mean_distance(&self, references: &[Tensor], samples: &[Tensor]) -> Result<Tensor> {
        let layers = Tensor::f_stack(&self.compare(references, samples)?, 1)?;
        let sums = layers.f_sum_dim_intlist(&[1_i64][..], false, Kind::Float)?;
        Ok(sums.f_mean(Kind::Float)?)
    }
}

/// `x` `[B, C, H, W]` divided by its norm over channels.
fn unit(x: &Tensor) -> Result<Tensor> {
    let squares = x.f_square()?.f_sum_dim_intlist(&[1_i64][..], true, Kind::Float)?;
    let norm = squares.f_add_scalar(SQUARED_EPSILON)?.f_sqrt()?;
    Ok(x.f_div(&norm.f_add_scalar(EPSILON)?)?)
}

/// The mean over the image of the weighted squared difference of unit features, both `[B, C, H, W]`: `[B]`.
fn weighted(reference: &Tensor, sample: &Tensor, head: &Tensor) -> Result<Tensor> {
    let squares = reference.f_sub(sample)?.f_square()?;
    let sum = squares.f_mul(head)?.f_sum_dim_intlist(&[1_i64][..], false, Kind::Float)?;
    Ok(sum.f_mean_dim(&[1_i64, 2][..], false, Kind::Float)?)
}

/// Images of one size as byte / 127.5 − 1: `[B, 3, H, W]`.
pub(crate) fn input(pictures: &[RgbImage], device: Device) -> Result<Tensor> {
    let (width, height) = pictures.first().map_or((0, 0), |p| p.dimensions());
    let bytes = pictures.iter().flat_map(|p| p.as_raw());
    let values: Vec<f32> = bytes.map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
    channels_last(&values, [pictures.len(), height as usize, width as usize], device)
}
