//! Any TorchScript module as a feature network.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use image::RgbImage;
use rayon::prelude::*;
use tch::{CModule, Device, Kind, Tensor};
use var_tokenizer::error::NotFinite;
use var_tokenizer::images::resize::{Filter, resize};
use var_tokenizer::torch::guarded;
use var_tokenizer::torch::module::{IMAGENET_DEVIATION, IMAGENET_MEAN, load_module, module_error};

use super::batches::in_batches;
use super::layers::pooled;
use super::network::{Activations, FeatureNetwork, Identity};
use super::preprocess::{channels_last, unknown};
use crate::error::{Error, Result};

/// Name of the network.
pub const NAME: &str = "torchscript";
/// Largest side of the input.
pub const MOST_SIDE: usize = 4096;
/// Images that go through the module at once.
const BATCH: usize = 16;

/// The output of a module.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ModuleOutput {
    /// Features `[B, D]`, or `[B, D, h, w]`, whose mean over the image is used.
    #[default]
    Features,
    /// Logits `[B, D]` of a classifier; they are the features too.
    Logits,
}

impl FromStr for ModuleOutput {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "features" => Ok(Self::Features),
            "logits" => Ok(Self::Logits),
            _ => Err(unknown("module output", text, &["features", "logits"])),
        }
    }
}

/// Input and output of a module. The module is called with `[B, 3, side, side]`:
/// images in [0, 1], resized to a square with Pillow's arithmetic, minus the mean, over the deviation.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleSettings {
    /// Side of the input in pixels.
    pub side: usize,
    /// Mean of each channel of images in [0, 1].
    pub mean: [f64; 3],
    /// Standard deviation of each channel.
    pub deviation: [f64; 3],
    /// Filter of the resize.
    pub resize: Filter,
    /// What it returns.
    pub output: ModuleOutput,
}

impl Default for ModuleSettings {
    /// 224 pixels, bicubic, normalised as usual for ImageNet.
    fn default() -> Self {
        Self {
            side: 224,
            mean: IMAGENET_MEAN,
            deviation: IMAGENET_DEVIATION,
            resize: Filter::Bicubic,
            output: ModuleOutput::Features,
        }
    }
}

impl ModuleSettings {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub fn validate(&self) -> Result<()> {
        let problem = if !(1..=MOST_SIDE).contains(&self.side) {
            format!("side {}: expected 1 to {MOST_SIDE}", self.side)
        } else if !self.mean.iter().all(|m| m.is_finite()) {
            "mean: expected three numbers".to_owned()
        } else if !self.deviation.iter().all(|d| d.is_finite() && *d > 0.0) {
            "standard deviation: expected three numbers above 0".to_owned()
        } else {
            return Ok(());
        };
        Err(var_tokenizer::Error::Config(format!("torchscript {problem}")).into())
    }

    /// All settings in one line, for the identity of the features.
    pub fn describe(&self) -> String {
        let list = |values: [f64; 3]| values.map(|v| v.to_string()).join(",");
        format!(
            "pillow-{}-{} mean {} std {}",
            format!("{:?}", self.resize).to_lowercase(),
            self.side,
            list(self.mean),
            list(self.deviation)
        )
    }

    /// Prepared images: `[B, 3, side, side]` in `f32`.
    fn prepare(&self, pictures: &[RgbImage], device: Device) -> Result<Tensor> {
        let (size, side) = (self.side * self.side * 3, self.side as u32);
        let mut values = vec![0_f32; pictures.len() * size];
        values.par_chunks_mut(size).zip(pictures).try_for_each(|(out, picture)| {
            let resized = resize(picture, side, side, self.resize)?;
            let channels = self.mean.iter().zip(&self.deviation).cycle();
            for ((value, &byte), (mean, deviation)) in out.iter_mut().zip(resized.as_raw()).zip(channels) {
                *value = ((f64::from(byte) / 255.0 - mean) / deviation) as f32;
            }
            Ok::<(), Error>(())
        })?;
        // The module may reshape its input, so it gets the usual layout.
        Ok(channels_last(&values, [pictures.len(), self.side, self.side], device)?.f_contiguous()?)
    }
}

/// A module with its settings.
#[derive(Debug)]
pub struct TorchScript {
    module: CModule,
    path: PathBuf,
    settings: ModuleSettings,
    device: Device,
    identity: Identity,
}

impl TorchScript {
    /// Loads the module and runs it on a grey image to find the number of features.
    ///
    /// # Errors
    /// When the file is missing or not TorchScript, a setting is out of range, or the module fails or returns another shape
    /// than its settings say.
    pub fn load(path: &Path, settings: ModuleSettings, device: Device) -> Result<Self> {
        settings.validate()?;
        guarded(|| {
            let (module, weights_sha256) = load_module(path, device)?;
            for (name, tensor) in module.named_parameters()? {
                if let Some(found) = NotFinite::in_tensor(&tensor)? {
                    return Err(Error::file(path, format!("parameter {name}: {found}")));
                }
            }
            let identity = Identity {
                network: NAME.to_owned(),
                weights_sha256,
                preprocessing: settings.describe(),
                width: 0,
                classes: 0,
                spatial: 0,
            };
            let mut network = Self { module, path: path.to_owned(), settings, device, identity };
            let grey = RgbImage::from_pixel(1, 1, image::Rgb([127; 3]));
            let width = network.run(&[grey])?.size().get(1).copied().unwrap_or(0);
            network.identity.width = usize::try_from(width).unwrap_or(0);
            if network.settings.output == ModuleOutput::Logits {
                network.identity.classes = network.identity.width;
            }
            Ok(network)
        })
    }

    /// The features `[B, D]` of `pictures`.
    fn run(&self, pictures: &[RgbImage]) -> Result<Tensor> {
        let _no_grad = tch::no_grad_guard();
        let input = self.settings.prepare(pictures, self.device)?;
        let output = self.module.forward_ts(&[input]).map_err(|e| {
            Error::file(
                &self.path,
                format!("the module fails on {} images: {}", pictures.len(), module_error(&e)),
            )
        })?;
        let shape = output.size();
        let count = pictures.len() as i64;
        match (self.settings.output, shape.as_slice()) {
            (_, &[b, d]) if b == count && d > 0 => Ok(output.f_to_kind(Kind::Float)?),
            (ModuleOutput::Features, &[b, d, h, w]) if b == count && d * h * w > 0 => {
                pooled(&output.f_to_kind(Kind::Float)?)
            }
            (wanted, _) => {
                let expected = match wanted {
                    ModuleOutput::Features => "features [B, D] or [B, D, h, w]",
                    ModuleOutput::Logits => "logits [B, D]",
                };
                let found = format!("gives {shape:?} for {count} images, expected {expected}");
                Err(Error::file(&self.path, found))
            }
        }
    }
}

impl FeatureNetwork for TorchScript {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn activations(&self, pictures: &[RgbImage]) -> Result<Activations> {
        guarded(|| {
            in_batches(&self.identity, pictures, BATCH, |batch| {
                let features = self.run(batch)?;
                let logits = (self.identity.classes > 0).then(|| features.shallow_clone());
                Ok((features, logits, None))
            })
        })
    }
}
