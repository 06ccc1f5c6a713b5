//! The tokenizer whole: encoder, quantizer, decoder.
//!
//! Source: section 3 of the paper, `models/vqvae.py` and `models/basic_vae.py` of the published code.

pub mod config;
pub mod decoder;
pub mod encoder;
mod inference;
pub mod layers;

use std::collections::BTreeMap;
use std::path::Path;

use tch::{Device, Kind, Tensor};

pub use config::{PhiSharing, TokenizerConfig};
use decoder::Decoder;
use encoder::Encoder;
use layers::Convolution;

use crate::data::schedule::ScaleSchedule;
use crate::quantizer::{Quantizer, ScaleDropout, Usage};
use crate::runtime::error::{Error, Result};
use crate::runtime::torch::check_finite;
use crate::runtime::weights::{Checkpoint, Parameters, Role, StateDict, Storage, safetensors};

/// Metadata key of the configuration in our `.safetensors` files.
pub const CONFIG_KEY: &str = "tokenizer_config";

/// Metadata key of the network that a perceptual loss of the training used, for example `st-lpips-alex`.
pub const PERCEPTUAL_KEY: &str = "perceptual_network";

/// The decoder's last weight, by whose gradients an adversarial loss is weighed.
pub const LAST_LAYER: &str = "decoder.conv_out.weight";

/// The buffer of usage statistics.
const USAGE: &str = "quantize.ema_vocab_hit_SV";

/// Names that may be missing from a file, or of another shape in it.
fn ignored(name: &str) -> bool {
    name == USAGE
}

/// Encoder and decoder in `kind`; the quantizer always computes in `f32`.
fn storage(kind: Kind) -> Storage {
    Storage { matrices: kind, keep: |name| name.starts_with("quantize.") }
}

/// Multi-scale VQ-VAE.
///
/// The precision of encoder and decoder is that of [`VqVae::set_compute_kind`]; the quantizer always
/// computes in `f32`.
#[derive(Debug)]
pub struct VqVae {
    config: TokenizerConfig,
    parameters: Parameters,
    encoder: Encoder,
    decoder: Decoder,
    quantizer: Quantizer,
    quant_conv: Convolution,
    post_quant_conv: Convolution,
    compute: Kind,
}

/// What a training step of the tokenizer needs.
#[derive(Debug)]
pub struct TrainingOutput {
    /// Reconstruction `[B, 3, S, S]` in `f32`, not clamped.
    pub reconstruction: Tensor,
    /// VQ loss, a scalar.
    pub vq_loss: Tensor,
    /// Ids (i64) per scale, each `[B, s²]`.
    pub ids: Vec<Tensor>,
    /// The vectors that were looked up per scale, each `[B·s², z]`, detached.
    pub rows: Vec<Tensor>,
}

impl VqVae {
    /// A tokenizer on `device`, initialised from `seed`, or with zeros for a file to fill.
    ///
    /// # Errors
    /// When the configuration does not fit together.
    pub fn new(config: &TokenizerConfig, device: Device, seed: Option<u64>) -> Result<Self> {
        Self::with(config, Parameters::new(device, seed, Storage::PLAIN), Kind::Float)
    }

    /// A tokenizer of `parameters`, which are empty, computing in `kind`.
    fn with(config: &TokenizerConfig, mut parameters: Parameters, kind: Kind) -> Result<Self> {
        config.validate()?;
        let mut b = parameters.builder();
        let encoder = Encoder::new(b.sub("encoder"), config);
        let decoder = Decoder::new(b.sub("decoder"), config);
        let quantizer = Quantizer::new(b.sub("quantize"), config);
        let z = config.latent_channels;
        let quant_conv = Convolution::new(b.sub("quant_conv"), z, z, 3);
        let post_quant_conv = Convolution::new(b.sub("post_quant_conv"), z, z, 3);
        Ok(Self {
            config: config.clone(),
            parameters,
            encoder,
            decoder,
            quantizer,
            quant_conv,
            post_quant_conv,
            compute: kind,
        })
    }

    /// Reads a tokenizer from a file of weights of any layout. What the file does not say is assumed, see
    /// [`TokenizerConfig::of`].
    ///
    /// # Errors
    /// When the file is damaged, holds no tokenizer, or its tensors do not fit together.
    pub fn load(path: &Path, device: Device) -> Result<Self> {
        let checkpoint = Checkpoint::open(path)?;
        let dict = checkpoint.part(Role::Tokenizer)?;
        let config = TokenizerConfig::of(dict, ScaleSchedule::stated_in(&checkpoint).as_ref())?;
        Self::of(dict, &config, device)
    }

    /// The tokenizer of `config` with the tensors of `dict`, in `f32`.
    ///
    /// # Errors
    /// When the tensors do not fit; no memory is taken for them then.
    pub fn of(dict: &StateDict, config: &TokenizerConfig, device: Device) -> Result<Self> {
        Self::filled(dict, config, Parameters::new(device, None, Storage::PLAIN), Kind::Float)
    }

    /// Checks that the tensors of `dict` fit the tokenizer of `config`. Takes no memory.
    ///
    /// # Errors
    /// Lists every missing, unexpected and mis-shaped tensor.
    pub fn check(dict: &StateDict, config: &TokenizerConfig) -> Result<()> {
        Self::with(config, Parameters::outline(), Kind::Float)?.parameters.check(dict, ignored)
    }

    /// A tokenizer whose `parameters` take the tensors of `dict`, if they fit.
    fn filled(
        dict: &StateDict,
        config: &TokenizerConfig,
        parameters: Parameters,
        kind: Kind,
    ) -> Result<Self> {
        Self::check(dict, config)?;
        let mut vae = Self::with(config, parameters, kind)?;
        vae.load_tensors(dict)?;
        Ok(vae)
    }

    /// The tokenizer of `config` with the tensors of `dict`, for inference: stored in `kind`, computing in
    /// it, without gradients.
    ///
    /// # Errors
    /// When the tensors do not fit; no memory is taken for them then.
    pub fn for_inference(
        dict: &StateDict,
        config: &TokenizerConfig,
        device: Device,
        kind: Kind,
    ) -> Result<Self> {
        let vae = Self::filled(dict, config, Parameters::new(device, None, storage(kind)), kind)?;
        vae.parameters.set_requires_grad(false);
        Ok(vae)
    }

    /// Fills the parameters from tensors under the released names; a stored usage buffer may be missing
    /// or of another schedule.
    ///
    /// # Errors
    /// Lists every missing, unexpected and mis-shaped tensor.
    pub fn load_tensors(&mut self, dict: &StateDict) -> Result<()> {
        self.parameters.load(dict, ignored)
    }

    /// Writes weights and configuration; returns the file's SHA-256.
    ///
    /// # Errors
    /// When the disk is full or the folder cannot be written; an older file stays whole.
    pub fn save(&self, path: &Path) -> Result<String> {
        safetensors::write(path, &self.parameters.to_map(), &self.metadata()?)
    }

    /// The metadata that makes a file of these weights readable by [`VqVae::load`].
    ///
    /// # Errors
    /// Never in practice: the configuration is plain data.
    pub fn metadata(&self) -> Result<BTreeMap<String, String>> {
        let text = serde_json::to_string(&self.config).map_err(|e| Error::Config(e.to_string()))?;
        Ok(BTreeMap::from([(CONFIG_KEY.to_owned(), text)]))
    }

    /// The configuration.
    pub fn config(&self) -> &TokenizerConfig {
        &self.config
    }

    /// All parameters by their released names.
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// All parameters, to fill them.
    pub fn parameters_mut(&mut self) -> &mut Parameters {
        &mut self.parameters
    }

    /// The quantizer alone; the memory of encoder and decoder is given back.
    pub fn into_quantizer(self) -> Quantizer {
        self.quantizer
    }

    /// The quantizer.
    pub fn quantizer(&self) -> &Quantizer {
        &self.quantizer
    }

    /// Usage statistics over the buffer of this tokenizer, of which `updates` were made before. `None`
    /// without a buffer; a tokenizer always has one.
    pub fn usage(&self, updates: u64) -> Option<Usage> {
        self.parameters.get(USAGE).map(|hits| Usage::new(hits, updates))
    }

    /// Where the parameters live.
    pub fn device(&self) -> Device {
        self.parameters.device()
    }

    /// Lets encoder and decoder compute in `kind` (`Float` or `BFloat16`).
    pub fn set_compute_kind(&mut self, kind: Kind) {
        self.compute = kind;
    }

    /// What encoder and decoder compute in.
    pub fn compute_kind(&self) -> Kind {
        self.compute
    }

    /// Stores encoder and decoder in the compute kind, for inference without casts. Not for training.
    pub fn freeze(&mut self) {
        self.parameters.set_requires_grad(false);
        self.parameters.store_as(storage(self.compute));
    }

    /// Computes the latent `[B, z, h, w]` (`f32`) of images `[B, 3, S, S]` in [-1, 1].
    ///
    /// # Errors
    /// When the side does not fit the schedule.
    pub fn latent(&self, images: &Tensor) -> Result<Tensor> {
        let (_, channels, height, width) = images.size4()?;
        if channels != 3 || height != width {
            return Err(Error::Config(format!(
                "images of shape [{channels}, {height}, {width}]; expected [3, S, S]"
            )));
        }
        self.config.check_side(width as usize)?;
        let h = self.encoder.forward(&images.to_device(self.device()).to_kind(self.compute))?;
        Ok(self.quant_conv.forward(&h).to_kind(Kind::Float))
    }

    /// Encodes images `[B, 3, S, S]` in [-1, 1] into ids `[B, L]` (i64), without gradient.
    ///
    /// # Errors
    /// When the side does not fit the schedule, or the latent is not finite.
    pub fn encode(&self, images: &Tensor) -> Result<Tensor> {
        tch::no_grad(|| {
            let latent = self.latent(images)?;
            // The nearest code of a NaN is code 0.
            check_finite(&latent, || "latent of the tokenizer's encoder".into())?;
            self.quantizer.encode(&latent)
        })
    }

    /// Decodes a latent `[B, z, h, w]` into images `[B, 3, S, S]` in `f32`, not clamped.
    ///
    /// # Errors
    /// When libtorch fails.
    pub fn decode_latent(&self, latent: &Tensor) -> Result<Tensor> {
        let h = self.post_quant_conv.forward(&latent.to_kind(self.compute));
        Ok(self.decoder.forward(&h)?.to_kind(Kind::Float))
    }

    /// Decodes ids `[B, L]` into images `[B, 3, S, S]` clamped to [-1, 1].
    ///
    /// # Errors
    /// When there are more or fewer tokens than the schedule has, or the images are not finite.
    pub fn decode(&self, ids: &Tensor) -> Result<Tensor> {
        tch::no_grad(|| {
            let latents = self.quantizer.latents(ids)?;
            let last = latents.last().ok_or_else(|| Error::Config("no tokens to decode".into()))?;
            self.shown(last)
        })
    }

    /// Decodes ids `[B, L]` into the images after each scale `[B, K, 3, S, S]`, clamped to [-1, 1].
    ///
    /// # Errors
    /// When there are more or fewer tokens than the schedule has, or the images are not finite.
    pub fn decode_scales(&self, ids: &Tensor) -> Result<Tensor> {
        tch::no_grad(|| {
            let images = self
                .quantizer
                .latents(ids)?
                .iter()
                .map(|latent| self.shown(latent))
                .collect::<Result<Vec<_>>>()?;
            Ok(Tensor::stack(&images, 1))
        })
    }

    /// Decodes a latent, checks the values and clamps them. The check comes first: a clamp turns infinity into white.
    fn shown(&self, latent: &Tensor) -> Result<Tensor> {
        let images = self.decode_latent(latent)?;
        check_finite(&images, || "images of the tokenizer's decoder".into())?;
        Ok(images.clamp(-1.0, 1.0))
    }

    /// Ids `[B, L]` → teacher-forcing vectors `[B, L − s_1², z]` of the transformer.
    ///
    /// # Errors
    /// When there are more or fewer tokens than the schedule has.
    pub fn to_model_input(&self, ids: &Tensor) -> Result<Tensor> {
        self.quantizer.to_model_input(ids, self.config.schedule.scales())
    }

    /// Computes a training step's forward pass over images `[B, 3, S, S]` in [-1, 1]. With `dropout`, images keep only some
    /// of their first scales.
    ///
    /// # Errors
    /// When the side does not fit the schedule.
    pub fn training_forward(
        &self,
        images: &Tensor,
        dropout: Option<&ScaleDropout>,
    ) -> Result<TrainingOutput> {
        let latent = self.latent(images)?;
        let pass = self.quantizer.training_pass(&latent, dropout)?;
        let reconstruction = self.decode_latent(&pass.latent)?;
        Ok(TrainingOutput { reconstruction, vq_loss: pass.loss, ids: pass.ids, rows: pass.rows })
    }
}
