//! The networks of LPIPS and of ST-LPIPS, down to their last compared layer.
//!
//! LPIPS takes torchvision's networks. ST-LPIPS (Ghildyal and Liu 2022) takes networks of its own whose pools are a maximum
//! with stride 1 and then a low-pass filter with stride 2, so that a shift by one pixel changes little.

use std::path::PathBuf;
use std::str::FromStr;

use tch::{Device, Kind, Tensor};

use crate::error::{Error, Result};
use crate::features::layers::{Activation, Convolution, Geometry};
use crate::features::preprocess::unknown;
use crate::features::registry::fetched;
use crate::features::weights::TensorSource;

/// The network whose features are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trunk {
    /// torchvision's `squeezenet1_1`.
    Squeeze,
    /// torchvision's `alexnet`.
    Alex,
    /// torchvision's `vgg16`.
    Vgg,
    /// The AlexNet of ST-LPIPS.
    ShiftTolerantAlex,
    /// The VGG16 of ST-LPIPS.
    ShiftTolerantVgg,
}

/// Those of LPIPS.
const LPIPS: [Trunk; 3] = [Trunk::Squeeze, Trunk::Alex, Trunk::Vgg];

impl Trunk {
    /// Its name in the package of its authors (`lpips`, `stlpips`).
    pub fn name(self) -> &'static str {
        match self {
            Self::Squeeze => "squeeze",
            Self::Alex | Self::ShiftTolerantAlex => "alex",
            Self::Vgg | Self::ShiftTolerantVgg => "vgg",
        }
    }

    /// Name of the metric: LPIPS, or ST-LPIPS.
    pub fn metric(self) -> &'static str {
        if self.is_shift_tolerant() { "ST-LPIPS" } else { "LPIPS" }
    }

    /// Its name in the settings of `var-train` and in the files of tokenizers, for example `st-lpips-alex`.
    pub fn key(self) -> String {
        format!("{}-{}", self.metric().to_lowercase(), self.name())
    }

    /// Whether it belongs to ST-LPIPS: one file then holds trunk and heads.
    pub fn is_shift_tolerant(self) -> bool {
        matches!(self, Self::ShiftTolerantAlex | Self::ShiftTolerantVgg)
    }

    /// The file of a network of ST-LPIPS that `cargo xtask setup --features` fetches.
    ///
    /// # Errors
    /// When it is missing; says how to get it. For the networks of LPIPS, which no package has.
    pub fn fetched(self) -> Result<PathBuf> {
        match self {
            Self::ShiftTolerantAlex => fetched("st_lpips_alex.pth", "ST-LPIPS (alex)"),
            Self::ShiftTolerantVgg => fetched("st_lpips_vgg.pth", "ST-LPIPS (vgg)"),
            Self::Squeeze | Self::Alex | Self::Vgg => Err(Error::config(format!(
                "LPIPS ({}) needs a file of the network and one of its heads",
                self.name()
            ))),
        }
    }

    /// The network of ST-LPIPS called `name`: `alex` or `vgg`.
    ///
    /// # Errors
    /// When it is neither; lists both.
    pub fn shift_tolerant(name: &str) -> Result<Self> {
        let all = [Self::ShiftTolerantAlex, Self::ShiftTolerantVgg];
        let names = all.map(Self::name);
        all.into_iter().find(|t| t.name() == name).ok_or_else(|| unknown("network of ST-LPIPS", name, &names))
    }

    /// Smallest side of an image in pixels; the pools reduce smaller ones to nothing.
    pub fn least_side(self) -> u32 {
        match self {
            Self::Squeeze => 17,
            Self::Alex => 31,
            Self::Vgg => 16,
            // Each low-pass filter reflects two pixels at the border, so its input needs three.
            Self::ShiftTolerantAlex => 21,
            Self::ShiftTolerantVgg => 20,
        }
    }

    /// Channels of the features that are compared, layer by layer.
    pub(super) fn channels(self) -> &'static [i64] {
        match self {
            Self::Squeeze => &[64, 128, 256, 384, 384, 512, 512],
            Self::Alex | Self::ShiftTolerantAlex => &[64, 192, 384, 256, 256],
            Self::Vgg | Self::ShiftTolerantVgg => &[64, 128, 256, 512, 512],
        }
    }

    /// The layers, under the names of the authors' files.
    pub(super) fn layers(self, source: &mut dyn TensorSource, device: Device) -> Result<Vec<Layer>> {
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
            Self::ShiftTolerantAlex => {
                trunk.plain("1.0", square(3, 64, 11).padding(2))?.blur("1.1", 64)?.relu().tap();
                trunk.maximum(3).blur("2.4", 64)?.slice("2.5", square(64, 192, 5).same())?.tap();
                trunk.maximum(3).blur("3.8", 192)?.slice("3.9", square(192, 384, 3).same())?.tap();
                trunk.slice("4.11", square(384, 256, 3).same())?.tap();
                trunk.slice("5.13", square(256, 256, 3).same())?.tap();
            }
            Self::ShiftTolerantVgg => {
                let mut inputs = 3;
                let stages: [(&str, &[&str]); 5] = [
                    ("", &["1.0", "1.2"]),
                    ("2.5", &["2.6", "2.8"]),
                    ("3.11", &["3.12", "3.14", "3.16"]),
                    ("4.19", &["4.20", "4.22", "4.24"]),
                    ("5.27", &["5.28", "5.30", "5.32"]),
                ];
                for ((filter, convolutions), &outputs) in stages.iter().zip(self.channels()) {
                    if !filter.is_empty() {
                        trunk.maximum(2).blur(filter, inputs)?;
                    }
                    for name in *convolutions {
                        trunk.slice(name, square(inputs, outputs, 3).same())?;
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
        let names = LPIPS.map(Self::name);
        LPIPS.into_iter().find(|t| t.name() == text).ok_or_else(|| unknown("LPIPS trunk", text, &names))
    }
}

/// A step of a trunk.
#[derive(Debug)]
pub(super) enum Layer {
    /// With its activation.
    Convolution(Convolution),
    /// max(x, 0).
    Relu,
    /// A maximum over `size` × `size` with stride 1.
    Maximum(i64),
    /// The low-pass filter `[C, 1, 3, 3]` with stride 2 over borders that reflect two pixels.
    Blur(Tensor),
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

impl Layer {
    /// Numbers in the layer's parameters, and FLOPs of its forward pass that gave `y`.
    pub(super) fn size(&self, y: &Tensor) -> (usize, f64) {
        let outputs = y.numel() as f64;
        match self {
            Self::Convolution(layer) => (layer.parameters(), outputs * layer.flops_per_output()),
            Self::Blur(filter) => (filter.numel(), outputs * 2.0 * 9.0),
            // The squeeze has as many positions, and its share of the FLOPs is its share of the numbers.
            Self::Fire(all) => {
                let positions = outputs / y.size().get(1).copied().unwrap_or(1).max(1) as f64;
                let parameters = all.iter().map(Convolution::parameters).sum();
                (parameters, 2.0 * positions * parameters as f64)
            }
            Self::Relu | Self::Maximum(_) | Self::Pool(..) | Self::Tap => (0, 0.0),
        }
    }

    /// `[B, C, H, W]` → `[B, C', H', W']`; a tap changes nothing.
    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Convolution(layer) => layer.forward(x)?,
            Self::Relu => x.f_relu()?,
            Self::Maximum(size) => x.f_max_pool2d([*size; 2], [1, 1], [0, 0], [1, 1], false)?,
            Self::Blur(filter) => {
                let channels = filter.size().first().copied().unwrap_or(1);
                let padded = x.f_reflection_pad2d([2, 2, 2, 2])?;
                padded.f_conv2d(filter, None::<Tensor>, [2, 2], [0, 0], [1, 1], channels)?
            }
            Self::Fire([squeeze, small, large]) => {
                let narrow = squeeze.forward(x)?;
                Tensor::f_cat(&[small.forward(&narrow)?, large.forward(&narrow)?], 1)?
            }
            Self::Pool(size, hanging) => x.f_max_pool2d([*size; 2], [2, 2], [0, 0], [1, 1], *hanging)?,
            Self::Tap => x.shallow_clone(),
        })
    }
}

impl Builder<'_> {
    fn make(&mut self, name: &str, geometry: Geometry) -> Result<Convolution> {
        let name = format!("features.{name}");
        Convolution::biased(self.source, self.device, &name, geometry, Activation::Relu)
    }

    /// A convolution of ST-LPIPS with ReLU.
    fn slice(&mut self, name: &str, geometry: Geometry) -> Result<&mut Self> {
        self.sliced(name, geometry, Activation::Relu)
    }

    /// A convolution of ST-LPIPS without activation.
    fn plain(&mut self, name: &str, geometry: Geometry) -> Result<&mut Self> {
        self.sliced(name, geometry, Activation::None)
    }

    fn sliced(&mut self, name: &str, geometry: Geometry, activation: Activation) -> Result<&mut Self> {
        let name = format!("net.slice{name}");
        let layer = Convolution::biased(self.source, self.device, &name, geometry, activation)?;
        self.layers.push(Layer::Convolution(layer));
        Ok(self)
    }

    fn blur(&mut self, name: &str, channels: i64) -> Result<&mut Self> {
        let filter = self.source.take(&format!("net.slice{name}.filt"), &[channels, 1, 3, 3])?;
        self.layers.push(Layer::Blur(filter.f_to_kind(Kind::Float)?.f_to_device(self.device)?));
        Ok(self)
    }

    fn relu(&mut self) -> &mut Self {
        self.layers.push(Layer::Relu);
        self
    }

    fn maximum(&mut self, size: i64) -> &mut Self {
        self.layers.push(Layer::Maximum(size));
        self
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
