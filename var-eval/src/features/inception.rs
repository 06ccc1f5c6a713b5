//! Inception-v3 as FID uses it: the ImageNet classifier of 2015-12-05 with 1008 outputs.
//!
//! The weights are `pt_inception-2015-12-05-6726825d.pth`, or the same tensors as safetensors. Names
//! and structure follow pytorch-fid's `inception.py`; the sFID features follow the ADM evaluator
//! (`evaluations/evaluator.py`: `mixed_6/conv:0`, its first 7 channels).

use std::path::Path;

use image::RgbImage;
use tch::{Device, Tensor};
use var_tokenizer::torch::guarded;

use super::batches::in_batches;
use super::inception_blocks::{Block, Part};
use super::layers::{Convolution, Geometry, Linear, pooled};
use super::network::{Activations, FeatureNetwork, Identity};
use super::preprocess::InceptionInput;
use super::weights::{TensorSource, WeightsFile, is_counter};
use crate::error::Result;

/// Name of the network. Published FIDs use it.
pub const NAME: &str = "inception-fid";
/// Pooled features of an image.
pub const FEATURES: usize = 2048;
/// Logits of an image.
pub const CLASSES: usize = 1008;
/// Spatial features of an image: 17 × 17 × 7.
pub const SPATIAL: usize = SPATIAL_SIDE * SPATIAL_SIDE * SPATIAL_CHANNELS;
/// Channels of the spatial features.
const SPATIAL_CHANNELS: usize = 7;
/// Rows and columns of the spatial features.
const SPATIAL_SIDE: usize = 17;
/// The block whose first branch gives the spatial features.
const SPATIAL_BLOCK: &str = "Mixed_6d";
/// Images that go through the network at once.
const BATCH: usize = 16;

/// Outputs of the layers for `B` inputs.
#[derive(Debug)]
pub struct Outputs {
    /// Pooled features `[B, 2048]`.
    pub features: Tensor,
    /// Logits without the bias of the last layer `[B, 1008]`, as the tools for the Inception Score use them.
    pub unbiased_logits: Tensor,
    /// `Mixed_6d.branch1x1` after batch norm and ReLU, its first 7 of 192 channels, flattened in the order
    /// row, column, channel `[B, 2023]`.
    pub spatial: Tensor,
}

/// The layers, without preprocessing.
#[derive(Debug)]
pub struct Layers {
    stem: Vec<Step>,
    blocks: Vec<(&'static str, Block)>,
    classifier: Linear,
}

/// A step of the stem.
#[derive(Debug)]
enum Step {
    Convolution(Convolution),
    /// A maximum of 3×3 with stride 2.
    Reduce,
}

impl Layers {
    /// Builds the network on `device` from `source`.
    ///
    /// # Errors
    /// When a tensor cannot be read, or memory runs out.
    pub fn new(source: &mut dyn TensorSource, device: Device) -> Result<Self> {
        let square = Geometry::square;
        let mut root = Part { source, device, name: String::new() };
        let stem = vec![
            Step::Convolution(root.convolution("Conv2d_1a_3x3", square(3, 32, 3).stride(2))?),
            Step::Convolution(root.convolution("Conv2d_2a_3x3", square(32, 32, 3))?),
            Step::Convolution(root.convolution("Conv2d_2b_3x3", square(32, 64, 3).same())?),
            Step::Reduce,
            Step::Convolution(root.convolution("Conv2d_3b_1x1", square(64, 80, 1))?),
            Step::Convolution(root.convolution("Conv2d_4a_3x3", square(80, 192, 3))?),
            Step::Reduce,
        ];
        let source = root.source;
        let mut block = |name: &'static str, make: &dyn Fn(Part<'_>) -> Result<Block>| {
            let part = Part { source: &mut *source, device, name: name.to_owned() };
            make(part).map(|block| (name, block))
        };
        let blocks = vec![
            block("Mixed_5b", &|p| Block::a(p, 192, 32))?,
            block("Mixed_5c", &|p| Block::a(p, 256, 64))?,
            block("Mixed_5d", &|p| Block::a(p, 288, 64))?,
            block("Mixed_6a", &|p| Block::b(p, 288))?,
            block("Mixed_6b", &|p| Block::c(p, 768, 128))?,
            block("Mixed_6c", &|p| Block::c(p, 768, 160))?,
            block(SPATIAL_BLOCK, &|p| Block::c(p, 768, 160))?,
            block("Mixed_6e", &|p| Block::c(p, 768, 192))?,
            block("Mixed_7a", &|p| Block::d(p, 768))?,
            block("Mixed_7b", &|p| Block::e(p, 1280, false))?,
            block("Mixed_7c", &|p| Block::e(p, 2048, true))?,
        ];
        let classifier = Linear::new(source, device, "fc", FEATURES as i64, CLASSES as i64)?;
        Ok(Self { stem, blocks, classifier })
    }

    /// Runs normalised images `[B, 3, 299, 299]` through the network.
    ///
    /// # Errors
    /// When libtorch fails, or memory runs out.
    pub fn forward(&self, pictures: &Tensor) -> Result<Outputs> {
        let _no_grad = tch::no_grad_guard();
        let mut x = pictures.shallow_clone();
        for step in &self.stem {
            x = match step {
                Step::Convolution(layer) => layer.forward(&x)?,
                Step::Reduce => x.f_max_pool2d([3, 3], [2, 2], [0, 0], [1, 1], false)?,
            };
        }
        let mut spatial = None;
        for (name, block) in &self.blocks {
            let (joined, first) = block.forward(&x)?;
            x = joined;
            if *name == SPATIAL_BLOCK {
                spatial = first;
            }
        }
        let features = pooled(&x)?;
        let unbiased_logits = self.classifier.unbiased(&features)?;
        // The block is in the list above, so its output exists.
        let spatial = spatial.unwrap_or(x).f_narrow(1, 0, SPATIAL_CHANNELS as i64)?;
        let spatial = spatial.f_permute([0, 2, 3, 1])?.f_flatten(1, -1)?;
        Ok(Outputs { features, unbiased_logits, spatial })
    }

    /// Logits with the bias of the last layer: `[B, 1008]`.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn biased(&self, unbiased_logits: &Tensor) -> Result<Tensor> {
        Ok(unbiased_logits.f_add(&self.classifier.bias)?)
    }
}

/// The network with its weights and its preprocessing.
#[derive(Debug)]
pub struct Inception {
    layers: Layers,
    input: InceptionInput,
    device: Device,
    identity: Identity,
}

impl Inception {
    /// Loads the weights from `path`.
    ///
    /// # Errors
    /// When the file cannot be read, or tensors are missing, unexpected or of another shape; one error lists all of them.
    pub fn load(path: &Path, input: InceptionInput, device: Device) -> Result<Self> {
        guarded(|| {
            let mut file = WeightsFile::open(path)?;
            let layers = Layers::new(&mut file, device)?;
            let identity = Identity {
                network: NAME.to_owned(),
                weights_sha256: file.sha256().to_owned(),
                preprocessing: input.name().to_owned(),
                width: FEATURES,
                classes: CLASSES,
                spatial: SPATIAL,
            };
            file.finish(is_counter)?;
            Ok(Self { layers, input, device, identity })
        })
    }
}

impl FeatureNetwork for Inception {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn activations(&self, pictures: &[RgbImage]) -> Result<Activations> {
        guarded(|| {
            in_batches(&self.identity, pictures, BATCH, |batch| {
                let input = self.input.prepare(batch, self.device)?;
                let outputs = self.layers.forward(&input)?;
                Ok((outputs.features, Some(outputs.unbiased_logits), Some(outputs.spatial)))
            })
        })
    }
}
