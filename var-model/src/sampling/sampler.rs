//! The sampler: one forward pass per step, with cached keys and values.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};
use var_tokenizer::error::NotFinite;
use var_tokenizer::torch::check_finite;
use var_tokenizer::{TokenizerConfig, VqVae};

use super::canvas::Canvas;
use super::draws::{Draws, invert};
use super::filter::filter;
use crate::config::TransformerConfig;
use crate::error::{Error, Result};
use crate::order::Order;
use crate::transformer::{Context, KeyValueCache, Transformer};

/// How tokens are chosen from the logits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingOptions {
    /// Guidance at the last step; 0: no guidance.
    pub cfg: f64,
    /// Guidance over the steps.
    #[serde(default)]
    pub guidance: Guidance,
    /// Divides the guided logits before filtering; 1 changes nothing.
    #[serde(default = "one")]
    pub temperature: f64,
    /// Draw among this many codes (0: all).
    pub top_k: usize,
    /// Draw among the most likely codes that together reach this probability (0: all).
    pub top_p: f64,
    /// Mix code vectors by a Gumbel softmax instead of drawing one. For images only, never for scores.
    pub more_smooth: bool,
}

fn one() -> f64 {
    1.0
}

/// Guidance over the steps: over the scales, or in a raster scan over the tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guidance {
    /// Linearly from 0 at the first step, as published.
    #[default]
    Ramp,
    /// The same at every step.
    Constant,
}

impl Guidance {
    /// The guidance at `progress` (0 at the first step, 1 at the last); `cfg` is that of the last step.
    fn at(self, cfg: f64, progress: f64) -> f64 {
        match self {
            Self::Ramp => cfg * progress,
            Self::Constant => cfg,
        }
    }
}

impl Default for SamplingOptions {
    /// The published settings of evaluation.
    fn default() -> Self {
        Self {
            cfg: 1.5,
            guidance: Guidance::Ramp,
            temperature: 1.0,
            top_k: 900,
            top_p: 0.96,
            more_smooth: false,
        }
    }
}

impl SamplingOptions {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub fn validate(&self) -> Result<()> {
        if !self.cfg.is_finite() || self.cfg < 0.0 {
            return Err(Error::Config(format!("cfg is {}; it must be a number from 0 on", self.cfg)));
        }
        if !self.temperature.is_finite() || self.temperature <= 0.0 {
            return Err(Error::Config(format!(
                "temperature is {}; it must be a number above 0",
                self.temperature
            )));
        }
        if !(0.0..=1.0).contains(&self.top_p) {
            return Err(Error::Config(format!("top-p is {}; it must be from 0 to 1", self.top_p)));
        }
        Ok(())
    }

    /// Checks that a model of this order can do it.
    ///
    /// # Errors
    /// When codes should be mixed in raster order.
    pub(crate) fn check_order(&self, order: Order) -> Result<()> {
        if self.more_smooth && order == Order::Raster {
            return Err(Error::Config(
                "the model generates in raster order and cannot mix codes; sample without more-smooth".into(),
            ));
        }
        Ok(())
    }
}

/// A batch of sampled images.
#[derive(Debug)]
pub struct Sample {
    /// Ids `[B, L]` as drawn. Kept positions of an edited image have drawn ids too, which were not used.
    pub ids: Tensor,
    /// Latents `[B, z, h, w]` after each token map; `images` is the decoded last one.
    pub latents: Vec<Tensor>,
    /// Images `[B, 3, S, S]` clamped to [-1, 1].
    pub images: Tensor,
}

/// What an edit takes from existing images instead of sampling it.
#[derive(Debug)]
pub struct Kept {
    /// Ids of the images, `[B, L]`, or `[1, L]` for all.
    pub ids: Tensor,
    /// For each scale, 1 where its position keeps the image's code and 0 where it is sampled:
    /// `[B, s²]`, or `[1, s²]` for all, in `f32`.
    pub masks: Vec<Tensor>,
}

/// Maximum number of logits of one step in memory: 1 GiB.
const MOST_LOGITS: usize = 1 << 28;

/// Number of images to sample at once: `wanted`, or fewer if their logits would take gigabytes.
pub fn at_once(config: &TransformerConfig, wanted: usize) -> usize {
    let logits = config.largest_step() * config.vocabulary;
    wanted.min(MOST_LOGITS / logits.max(1)).max(1)
}

/// Checks that a model of this order can edit photos.
///
/// # Errors
/// In raster order.
pub(crate) fn check_edits(order: Order) -> Result<()> {
    match order {
        Order::NextScale => Ok(()),
        Order::Raster => Err(Error::Config(
            "the model generates in raster order and cannot edit: its tokens do not see the kept ones that follow. Use a \
             next-scale model"
                .into(),
        )),
    }
}

/// Transformer and tokenizer, ready to sample.
#[derive(Debug)]
pub struct Sampler<'a> {
    model: &'a Transformer,
    tokenizer: &'a VqVae,
    /// Names of the two in errors.
    names: (String, String),
}

/// Checks that the model was made for this tokenizer.
///
/// # Errors
/// When their schedules, vocabularies or latent channels differ.
pub fn check_pair(model: &TransformerConfig, tokenizer: &TokenizerConfig) -> Result<()> {
    let (m, t) = (model, tokenizer);
    if m.schedule == t.schedule && m.vocabulary == t.vocabulary && m.latent_channels == t.latent_channels {
        return Ok(());
    }
    Err(Error::Config(format!(
        "the model expects schedule {}, {} codes, {} latent channels; the tokenizer has {}, {}, {}. Use the tokenizer \
         that the model was trained with",
        m.schedule, m.vocabulary, m.latent_channels, t.schedule, t.vocabulary, t.latent_channels
    )))
}

impl<'a> Sampler<'a> {
    /// A sampler of these two.
    ///
    /// # Errors
    /// As [`check_pair`].
    pub fn new(model: &'a Transformer, tokenizer: &'a VqVae) -> Result<Self> {
        check_pair(model.config(), tokenizer.config())?;
        Ok(Self { model, tokenizer, names: ("the model".into(), "the tokenizer".into()) })
    }

    /// Names the files of model and tokenizer, for errors about values that are not finite.
    #[must_use]
    pub fn named(mut self, model: String, tokenizer: String) -> Self {
        self.names = (model, tokenizer);
        self
    }

    /// The transformer's configuration.
    pub fn config(&self) -> &TransformerConfig {
        self.model.config()
    }

    /// Samples one image for each of `labels` (the label `classes` means "no class"). `draws` must be for as many
    /// images.
    ///
    /// # Errors
    /// When a label or an option is out of range, a logit, latent or image is not finite, or libtorch fails.
    pub fn sample(&self, labels: &[i64], draws: &Draws, options: &SamplingOptions) -> Result<Sample> {
        self.sample_around(labels, draws, options, None)
    }

    /// As [`Sampler::sample`], but keeps parts of images: at each scale, the code vectors of the kept positions replace
    /// the sampled ones before they are added to the latent.
    ///
    /// # Errors
    /// As [`Sampler::sample`], and when `kept` does not fit the schedule or the batch.
    pub fn sample_around(
        &self,
        labels: &[i64],
        draws: &Draws,
        options: &SamplingOptions,
        kept: Option<&Kept>,
    ) -> Result<Sample> {
        options.validate()?;
        options.check_order(self.config().order)?;
        if let Some(kept) = kept {
            check_edits(self.config().order)?;
            self.check_kept(kept, labels.len() as i64)?;
        }
        let classes = self.model.config().classes as i64;
        if let Some(label) = labels.iter().find(|&&l| l < 0 || l > classes) {
            return Err(Error::Config(format!(
                "class {label}: there are classes 0 to {}, and {classes} for no class",
                classes - 1
            )));
        }
        tch::no_grad(|| self.run(labels, draws, options, kept))
    }

    fn check_kept(&self, kept: &Kept, batch: i64) -> Result<()> {
        let schedule = &self.model.config().schedule;
        let fits = |t: &Tensor, length: usize| {
            t.size2().is_ok_and(|(rows, found)| (rows == 1 || rows == batch) && found == length as i64)
        };
        let lengths = schedule.lengths();
        if fits(&kept.ids, schedule.tokens())
            && kept.masks.len() == lengths.len()
            && kept.masks.iter().zip(&lengths).all(|(mask, &length)| fits(mask, length))
        {
            return Ok(());
        }
        Err(Error::Config(format!(
            "kept ids {:?} and masks {:?} do not fit {batch} images of schedule {schedule}",
            kept.ids.size(),
            kept.masks.iter().map(Tensor::size).collect::<Vec<_>>()
        )))
    }

    fn run(
        &self,
        labels: &[i64],
        draws: &Draws,
        options: &SamplingOptions,
        kept: Option<&Kept>,
    ) -> Result<Sample> {
        let (model, quantizer) = (self.model, self.tokenizer.quantizer());
        let config = model.config();
        let batch = labels.len() as i64;
        let guided = options.cfg > 0.0;
        let mut all = labels.to_vec();
        if guided {
            all.extend(std::iter::repeat_n(config.classes as i64, labels.len()));
        }
        let rows = all.len() as i64;
        let condition = model.condition(&Tensor::from_slice(&all).to_device(model.device()));
        let modulations = model.modulations(&condition)?;
        let mut cache = KeyValueCache::new(config, rows, model.compute_kind(), model.device())?;
        let mut canvas = Canvas::new(quantizer, config, batch);
        let mut tokens = model.embed_first(&condition);
        let mut ids = Vec::with_capacity(config.steps());
        for k in 0..config.steps() {
            let (place, range) = (config.place(k), config.step(k));
            let length = range.len();
            let logits = model.run(&tokens, &modulations, &mut Context::Cached(&mut cache), None)?;
            let t = options.guidance.at(options.cfg, config.progress(k));
            let raw = logits;
            let logits = guide(&raw, batch, t, guided, options.temperature);
            self.check_logits(&raw, &logits, k, options)?;
            let vocabulary = config.vocabulary as i64;
            let allowed = filter(&logits.view([-1, vocabulary]), options.top_k, options.top_p);
            let uniforms = draws.uniforms(&place, model.device()).view([-1]);
            let chosen = invert(&allowed.softmax(-1, None), &uniforms).view([batch, length as i64]);
            let mut vectors = if options.more_smooth {
                let gumbels = draws.gumbels(place.scale, length, config.vocabulary, model.device());
                let logits = allowed.view([batch, length as i64, vocabulary]);
                smooth(&logits, &gumbels, config.progress(k)).matmul(quantizer.codebook().embedding())
            } else {
                quantizer.codebook().vectors(&chosen)
            };
            ids.push(chosen);
            if let Some(kept) = kept {
                let own = kept.ids.narrow(1, range.start as i64, range.len() as i64);
                if let Some(mask) = kept.masks.get(k).map(|mask| mask.to_device(model.device())) {
                    let own = quantizer.codebook().vectors(&own.to_device(model.device()));
                    vectors = own.where_self(&mask.unsqueeze(-1).gt(0.5), &vectors);
                }
            }
            if let Some(latent) = canvas.add(vectors, k)? {
                check_finite(latent, || format!("{}: latent after {}", self.names.1, self.step(k)))?;
            }
            if let Some(next) = (k + 1 < config.steps()).then(|| canvas.input(k + 1)).flatten() {
                let embedded = model.embed_vectors(&next, range.end);
                tokens = if guided { embedded.repeat([2, 1, 1]) } else { embedded };
            }
        }
        let (latent, latents) = canvas.finish();
        let images = self.decode(&latent, || "pictures".into())?;
        Ok(Sample { ids: Tensor::cat(&ids, 1), latents, images })
    }

    /// Checks that the `logits` of step `k` are finite; `raw` are the model's logits before guidance and temperature.
    /// Costs one sum, little next to the sort of the filter.
    fn check_logits(&self, raw: &Tensor, logits: &Tensor, k: usize, options: &SamplingOptions) -> Result<()> {
        let Some(found) = NotFinite::in_tensor(logits)? else { return Ok(()) };
        check_finite(raw, || format!("{}: logits of {}", self.names.0, self.step(k)))?;
        Err(Error::Config(format!(
            "guidance {} and temperature {}: logits of {} are finite before them, not after ({found}); lower the \
             guidance, or raise the temperature",
            options.cfg,
            options.temperature,
            self.step(k)
        )))
    }

    /// Decodes latents `[B, z, h, w]` to images `[B, 3, S, S]` clamped to [-1, 1]. `what` names them in an error.
    ///
    /// # Errors
    /// When a value is not finite, or libtorch fails.
    pub fn decode(&self, latents: &Tensor, what: impl FnOnce() -> String) -> Result<Tensor> {
        let images = self.tokenizer.decode_latent(latents)?;
        check_finite(&images, || format!("{}: {}", self.names.1, what()))?;
        Ok(images.clamp(-1.0, 1.0))
    }

    /// Ids `[B, L]` of images `[B, 3, S, S]` in [-1, 1].
    ///
    /// # Errors
    /// When the side does not fit the schedule, a latent is not finite, or libtorch fails.
    pub fn encode(&self, images: &Tensor) -> Result<Tensor> {
        tch::no_grad(|| {
            let latent = self.tokenizer.latent(images)?;
            check_finite(&latent, || format!("{}: latent of the image", self.names.1))?;
            self.tokenizer.quantizer().encode(&latent)
        })
    }

    /// Step `k` in words.
    fn step(&self, k: usize) -> String {
        let config = self.model.config();
        let what = match config.order {
            Order::NextScale => "scale",
            Order::Raster => "token",
        };
        format!("{what} {} of {}", k + 1, config.steps())
    }
}

/// `((1 + t)·conditional − t·unconditional) / temperature` of logits `[B or 2B, l, V]`: `[B, l, V]`.
fn guide(logits: &Tensor, batch: i64, t: f64, guided: bool, temperature: f64) -> Tensor {
    let logits = if guided {
        logits.narrow(0, 0, batch) * (1.0 + t) - logits.narrow(0, batch, batch) * t
    } else {
        logits.shallow_clone()
    };
    // Dividing by one would still copy all logits.
    if temperature == 1.0 { logits } else { logits / temperature }
}

/// Weights of the codes for `more_smooth`, `[B, l, V]`; the temperature falls along the scales.
fn smooth(logits: &Tensor, gumbels: &Tensor, progress: f64) -> Tensor {
    let temperature = (0.27 * (1.0 - 0.95 * progress)).max(0.005);
    ((logits * (1.0 + progress) + gumbels) / temperature).softmax(-1, Some(Kind::Float))
}
