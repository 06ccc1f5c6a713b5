//! LPIPS: the distance of two images in the features of a network, weighted by human judgements.
//!
//! Zhang et al. 2018, version 0.1 of the `lpips` package: features of several layers, each divided by its norm over channels;
//! squared differences, weighted by one head per layer; the mean over the image; the sum over the layers. The user gives two
//! files: torchvision's ImageNet weights (`features.N.weight`) and the heads of the package (`linK.model.1.weight`). With
//! other trunks the numbers are not LPIPS.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use image::RgbImage;
use serde::{Deserialize, Serialize};
use tch::{Device, Kind, Tensor};
use var_tokenizer::files::sha256_of;
use var_tokenizer::torch::guarded;

use crate::error::{Error, Result};
use crate::features::layers::{Activation, Convolution, Geometry};
use crate::features::preprocess::{channels_last, unknown};
use crate::features::weights::{TensorSource, WeightsFile};

/// Added to the norm over channels.
const EPSILON: f64 = 1e-10;
/// Shift of images in −1..1, per channel.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
/// Divisor after the shift, per channel.
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
/// Pairs that go through the network at once.
const BATCH: usize = 8;

/// The network whose features are compared, as torchvision has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trunk {
    /// `squeezenet1_1`.
    Squeeze,
    /// `alexnet`.
    Alex,
    /// `vgg16`.
    Vgg,
}

/// All of them.
const ALL: [Trunk; 3] = [Trunk::Squeeze, Trunk::Alex, Trunk::Vgg];

impl Trunk {
    /// Its name in the `lpips` package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Squeeze => "squeeze",
            Self::Alex => "alex",
            Self::Vgg => "vgg",
        }
    }

    /// Smallest side of an image in pixels; the pools reduce smaller ones to nothing.
    pub fn least_side(self) -> u32 {
        match self {
            Self::Squeeze => 17,
            Self::Alex => 31,
            Self::Vgg => 16,
        }
    }

    /// Channels of the features that are compared, layer by layer.
    fn channels(self) -> &'static [i64] {
        match self {
            Self::Squeeze => &[64, 128, 256, 384, 384, 512, 512],
            Self::Alex => &[64, 192, 384, 256, 256],
            Self::Vgg => &[64, 128, 256, 512, 512],
        }
    }

    /// The layers, in torchvision's numbering of `features`.
    fn layers(self, source: &mut dyn TensorSource, device: Device) -> Result<Vec<Layer>> {
        let square = Geometry::square;
        let mut trunk = Builder { source, device, layers: Vec::new() };
        match self {
            Self::Squeeze => {
                trunk.convolution(0, square(3, 64, 3).stride(2))?.tap();
                trunk.pool(3, true).fire(3, 64, 16, 64)?.fire(4, 128, 16, 64)?.tap();
                trunk.pool(3, true).fire(6, 128, 32, 128)?.fire(7, 256, 32, 128)?.tap();
                trunk.pool(3, true).fire(9, 256, 48, 192)?.tap();
                trunk.fire(10, 384, 48, 192)?.tap();
                trunk.fire(11, 384, 64, 256)?.tap();
                trunk.fire(12, 512, 64, 256)?.tap();
            }
            Self::Alex => {
                trunk.convolution(0, square(3, 64, 11).stride(4).padding(2))?.tap();
                trunk.pool(3, false).convolution(3, square(64, 192, 5).same())?.tap();
                trunk.pool(3, false).convolution(6, square(192, 384, 3).same())?.tap();
                trunk.convolution(8, square(384, 256, 3).same())?.tap();
                trunk.convolution(10, square(256, 256, 3).same())?.tap();
            }
            Self::Vgg => {
                let mut inputs = 3;
                let stages: [&[i64]; 5] = [&[0, 2], &[5, 7], &[10, 12, 14], &[17, 19, 21], &[24, 26, 28]];
                for (stage, (numbers, &outputs)) in stages.iter().zip(self.channels()).enumerate() {
                    if stage > 0 {
                        trunk.pool(2, false);
                    }
                    for &number in *numbers {
                        trunk.convolution(number, square(inputs, outputs, 3).same())?;
                        inputs = outputs;
                    }
                    trunk.tap();
                }
            }
        }
        Ok(trunk.layers)
    }
}

impl FromStr for Trunk {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let names = ALL.map(Self::name);
        ALL.into_iter().find(|t| t.name() == text).ok_or_else(|| unknown("LPIPS trunk", text, &names))
    }
}

/// A step of a trunk.
#[derive(Debug)]
enum Layer {
    /// With ReLU.
    Convolution(Convolution),
    /// SqueezeNet's module: a narrow 1×1 convolution, then parallel 1×1 and 3×3 ones.
    Fire([Convolution; 3]),
    /// A maximum over `size` × `size` with stride 2; `true` keeps an incomplete last window.
    Pool(i64, bool),
    /// Compares the features at this point.
    Tap,
}

/// Collects the layers of a trunk.
struct Builder<'a> {
    source: &'a mut dyn TensorSource,
    device: Device,
    layers: Vec<Layer>,
}

impl Builder<'_> {
    fn make(&mut self, name: &str, geometry: Geometry) -> Result<Convolution> {
        let name = format!("features.{name}");
        Convolution::biased(self.source, self.device, &name, geometry, Activation::Relu)
    }

    fn convolution(&mut self, number: i64, geometry: Geometry) -> Result<&mut Self> {
        let layer = self.make(&number.to_string(), geometry)?;
        self.layers.push(Layer::Convolution(layer));
        Ok(self)
    }

    fn fire(&mut self, number: i64, inputs: i64, narrow: i64, wide: i64) -> Result<&mut Self> {
        let square = Geometry::square;
        let squeeze = self.make(&format!("{number}.squeeze"), square(inputs, narrow, 1))?;
        let small = self.make(&format!("{number}.expand1x1"), square(narrow, wide, 1))?;
        let large = self.make(&format!("{number}.expand3x3"), square(narrow, wide, 3).same())?;
        self.layers.push(Layer::Fire([squeeze, small, large]));
        Ok(self)
    }

    fn pool(&mut self, size: i64, hanging: bool) -> &mut Self {
        self.layers.push(Layer::Pool(size, hanging));
        self
    }

    fn tap(&mut self) -> &mut Self {
        self.layers.push(Layer::Tap);
        self
    }
}

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
        let heads = (0..).zip(trunk.channels()).map(|(number, &channels): (usize, _)| {
            let head = heads.take(&format!("lin{number}.model.1.weight"), &[1, channels, 1, 1])?;
            Ok(head.f_to_device(device)?)
        });
        let heads = heads.collect::<Result<_>>()?;
        let row = |values: [f32; 3]| -> Result<Tensor> {
            Ok(Tensor::f_from_slice(&values)?.f_view([1, 3, 1, 1])?.f_to_device(device)?)
        };
        let stamp = LpipsStamp {
            trunk: trunk.name().to_owned(),
            version: "0.1".to_owned(),
            weights_sha256: String::new(),
            heads_sha256: String::new(),
        };
        Ok(Self { stamp, trunk, layers, heads, shift: row(SHIFT)?, scale: row(SCALE)?, device })
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
        let name = self.trunk.name();
        Err(Error::config(format!(
            "LPIPS ({name}) needs at least {least}×{least} pixels, the image has {width}×{height}"
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
        let both = Tensor::f_cat(&[references, samples], 0)?;
        let mut x = both.f_sub(&self.shift)?.f_div(&self.scale)?;
        let mut heads = self.heads.iter();
        let mut found = Vec::with_capacity(self.heads.len());
        for layer in &self.layers {
            x = match layer {
                Layer::Convolution(layer) => layer.forward(&x)?,
                Layer::Fire([squeeze, small, large]) => {
                    let narrow = squeeze.forward(&x)?;
                    Tensor::f_cat(&[small.forward(&narrow)?, large.forward(&narrow)?], 1)?
                }
                Layer::Pool(size, hanging) => x.f_max_pool2d([*size; 2], [2, 2], [0, 0], [1, 1], *hanging)?,
                Layer::Tap => {
                    if let Some(head) = heads.next() {
                        found.push(weighted(&x, head)?);
                    }
                    continue;
                }
            };
        }
        Ok(Tensor::f_stack(&found, 1)?.f_to_device(Device::Cpu)?)
    }
}

/// The mean over the image of the weighted squared difference of unit features; the first half of `x`
/// `[2B, C, H, W]` is compared with the second: `[B]`.
fn weighted(x: &Tensor, head: &Tensor) -> Result<Tensor> {
    let norm = x.f_square()?.f_sum_dim_intlist(&[1_i64][..], true, Kind::Float)?.f_sqrt()?;
    let unit = x.f_div(&norm.f_add_scalar(EPSILON)?)?;
    let half = x.size().first().copied().unwrap_or(0) / 2;
    let difference = unit.f_narrow(0, 0, half)?.f_sub(&unit.f_narrow(0, half, half)?)?;
    let sum = difference.f_square()?.f_mul(head)?.f_sum_dim_intlist(&[1_i64][..], false, Kind::Float)?;
    Ok(sum.f_mean_dim(&[1_i64, 2][..], false, Kind::Float)?)
}

/// Images of one size as byte / 127.5 − 1: `[B, 3, H, W]`.
pub(crate) fn input(pictures: &[RgbImage], device: Device) -> Result<Tensor> {
    let (width, height) = pictures.first().map_or((0, 0), |p| p.dimensions());
    let bytes = pictures.iter().flat_map(|p| p.as_raw());
    let values: Vec<f32> = bytes.map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
    channels_last(&values, [pictures.len(), height as usize, width as usize], device)
}
