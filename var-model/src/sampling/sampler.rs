//! The sampler: one forward pass per step, with cached keys and values.

use tch::{Kind, Tensor};
use var_tokenizer::error::NotFinite;
use var_tokenizer::torch::check_finite;
use var_tokenizer::{TokenizerConfig, VqVae};

use super::canvas::Canvas;
use super::choice::choose;
use super::draws::Draws;
use super::filter::filter;
use super::options::SamplingOptions;
use super::pass::Pass;
use super::watch::{Step, Watch, unwatched};
use crate::config::TransformerConfig;
use crate::error::{Error, Result};
use crate::order::Order;
use crate::steps::Place;
use crate::transformer::Transformer;

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
/// Maximum number of cached keys and values: 16 GiB in f32, 8 GiB in bf16.
const MOST_CACHED: usize = 1 << 32;

/// Number of images to sample at once: `wanted`, or fewer if their logits or their cache would take many gigabytes. It does
/// not depend on the machine: a call resumes at a multiple of it.
pub fn at_once(config: &TransformerConfig, wanted: usize) -> usize {
    let logits = config.largest_step() * config.vocabulary;
    // Keys and values of both halves of the guidance, in every block.
    let cached = 2 * 2 * config.depth * config.schedule.tokens() * config.width;
    wanted.min(MOST_LOGITS / logits.max(1)).min(MOST_CACHED / cached.max(1)).max(1)
}

/// Checks that `small` can continue what `large` has begun.
///
/// # Errors
/// When they generate in raster order, or have other token maps, codes or classes, or the number of scales is out of range.
pub(crate) fn check_small(
    large: &TransformerConfig,
    small: &TransformerConfig,
    large_scales: usize,
) -> Result<()> {
    let scales = large.schedule.scales();
    if large.order == Order::Raster || small.order == Order::Raster {
        return Err(Error::Config(
            "a model in raster order has one scale; the large and the small model must be next-scale models"
                .into(),
        ));
    }
    let key = |c: &TransformerConfig| (c.schedule.clone(), c.vocabulary, c.latent_channels, c.classes);
    if key(large) != key(small) {
        let told = |c: &TransformerConfig| {
            format!(
                "schedule {}, {} codes, {} latent channels, {} classes",
                c.schedule, c.vocabulary, c.latent_channels, c.classes
            )
        };
        return Err(Error::Config(format!(
            "the large model has {}; the small one has {}. Use two models of the same tokenizer and classes",
            told(large),
            told(small)
        )));
    }
    if !(1..=scales).contains(&large_scales) {
        return Err(Error::Config(format!("large-scales is {large_scales}; it must be from 1 to {scales}")));
    }
    Ok(())
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
    small: Option<Small<'a>>,
    /// Names of model and tokenizer in errors.
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

/// A transformer that continues after the first scales.
#[derive(Debug)]
struct Small<'a> {
    model: &'a Transformer,
    large_scales: usize,
    /// Its name in errors.
    name: String,
}

impl<'a> Sampler<'a> {
    /// A sampler of these two.
    ///
    /// # Errors
    /// As [`check_pair`].
    pub fn new(model: &'a Transformer, tokenizer: &'a VqVae) -> Result<Self> {
        check_pair(model.config(), tokenizer.config())?;
        Ok(Self { model, tokenizer, small: None, names: ("the model".into(), "the tokenizer".into()) })
    }

    /// Draft and refine: after `large_scales` scales, the smaller transformer `model` continues. It reads these scales
    /// first. `name` is its name in errors.
    ///
    /// Source: Chen et al., Collaborative Decoding Makes Visual Auto-Regressive Modeling Efficient (2024).
    ///
    /// # Errors
    /// When the two do not fit together, or the number of scales is out of range.
    pub fn with_small(mut self, model: &'a Transformer, large_scales: usize, name: String) -> Result<Self> {
        check_small(self.config(), model.config(), large_scales)?;
        self.small = Some(Small { model, large_scales, name });
        Ok(self)
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
        self.sample_watched(labels, draws, options, kept, &mut unwatched)
    }

    /// As [`Sampler::sample_around`]; `watch` sees each finished step, and can end the sampling. The ids do not depend
    /// on it.
    ///
    /// # Errors
    /// As [`Sampler::sample_around`], and [`Error::Interrupted`] when `watch` ended the sampling.
    pub fn sample_watched(
        &self,
        labels: &[i64],
        draws: &Draws,
        options: &SamplingOptions,
        kept: Option<&Kept>,
        watch: &mut Watch<'_>,
    ) -> Result<Sample> {
        options.validate()?;
        options.check_model(self.config())?;
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
        tch::no_grad(|| {
            let (ids, latents) = self.generate(labels, draws, options, kept, watch)?;
            let images = match latents.last() {
                Some(latent) => self.decode(latent, || "pictures".into())?,
                None => return Err(Error::Config("the schedule has no scale".into())),
            };
            Ok(Sample { ids, latents, images })
        })
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

    /// Ids `[B, L]`, and latents `[B, z, h, w]` after each token map; decodes nothing. Its arguments must be checked, and
    /// gradients off.
    pub(crate) fn generate(
        &self,
        labels: &[i64],
        draws: &Draws,
        options: &SamplingOptions,
        kept: Option<&Kept>,
        watch: &mut Watch<'_>,
    ) -> Result<(Tensor, Vec<Tensor>)> {
        let (model, quantizer) = (self.model, self.tokenizer.quantizer());
        let config = model.config();
        let batch = labels.len() as i64;
        let guided_steps = options.guided_steps(config);
        let mut rows = labels.to_vec();
        if guided_steps > 0 {
            rows.extend(std::iter::repeat_n(config.classes as i64, labels.len()));
        }
        let mut pass = Pass::new(model, &rows)?;
        let mut canvas = Canvas::new(quantizer, config, batch);
        let mut inputs: Vec<Option<Tensor>> = Vec::new();
        let mut ids = Vec::with_capacity(config.steps());
        let places: Vec<Place> = (0..config.steps()).map(|k| config.place(k)).collect();
        // All at once: each upload would wait for the device.
        let uniforms = draws.uniforms(&places, model.device());
        for k in 0..config.steps() {
            let (place, range) = (config.place(k), config.step(k));
            let length = range.len();
            let vectors = if k == 0 { None } else { canvas.input(k) };
            if let Some(small) = &self.small {
                if k == small.large_scales {
                    pass = Pass::new(small.model, &rows)?;
                    for (earlier, vectors) in inputs.drain(..).enumerate() {
                        pass.read(vectors.as_ref(), config.step(earlier).start)?;
                    }
                } else if k < small.large_scales {
                    inputs.push(vectors.as_ref().map(Tensor::shallow_clone));
                }
            }
            if k >= guided_steps {
                pass.keep_first(batch);
            }
            let raw = pass.logits(vectors.as_ref(), range.start)?;
            let (t, temperature) = (options.guidance_at(config, k), options.temperature.at(place.scale));
            let logits = guide(&raw, batch, t, k < guided_steps, temperature);
            self.check_logits(&raw, &logits, k, options)?;
            let vocabulary = config.vocabulary as i64;
            let rows = logits.view([-1, vocabulary]);
            let own = uniforms.narrow(1, range.start as i64, length as i64).reshape([-1]);
            let chosen = choose(&rows, options.top_k, options.top_p, &own)?.view([batch, length as i64]);
            let mut vectors = if options.more_smooth {
                let allowed = filter(&rows, options.top_k, options.top_p);
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
            let latent = canvas.add(vectors, k)?;
            if let Some(latent) = latent {
                check_finite(latent, || format!("{}: latent after {}", self.names.1, self.step(k)))?;
            }
            if watch(Step { index: k, steps: config.steps(), latent }).is_break() {
                return Err(Error::Interrupted(format!("sampling was ended after {}", self.step(k))));
            }
        }
        Ok((Tensor::cat(&ids, 1), canvas.finish()))
    }

    /// Checks that the `logits` of step `k` are finite; `raw` are the model's logits before guidance and temperature.
    /// Costs one sum.
    fn check_logits(&self, raw: &Tensor, logits: &Tensor, k: usize, options: &SamplingOptions) -> Result<()> {
        let Some(found) = NotFinite::in_tensor(logits)? else { return Ok(()) };
        let name = match &self.small {
            Some(small) if k >= small.large_scales => &small.name,
            _ => &self.names.0,
        };
        check_finite(raw, || format!("{name}: logits of {}", self.step(k)))?;
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
