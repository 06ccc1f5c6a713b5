//! Settings of a run: defaults ← preset ← TOML file ← flags, every key known.

use serde::{Deserialize, Serialize};
use var_model::cost::{MOST_PICTURES, MOST_STEPS};
use var_model::transformer::Initialisation;
use var_tokenizer::{PhiSharing, ScaleSchedule, TokenizerConfig};

use crate::error::{Error, Result};
use crate::schedule::{Schedule, Shape};

/// How a run trains, whatever it trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Optimizer steps; 0 takes `epochs` instead.
    pub steps: u64,
    /// Passes over the training set when `steps` is 0.
    pub epochs: f64,
    /// Pictures a step, over all micro-batches.
    pub batch: usize,
    /// Micro-batches a step; memory goes down with it.
    pub accumulation: usize,
    /// Peak learning rate; 0 takes the published `1e-4 · batch / 256`.
    pub learning_rate: f64,
    /// Shape of the learning rate after the warm-up.
    pub shape: Shape,
    /// Warm-up in steps; a negative number takes that share of the run (−0.02: 2%).
    pub warmup: f64,
    /// Share of the peak at step 0.
    pub warmup_start: f64,
    /// Share of the peak at the end.
    pub final_rate: f64,
    /// Weight decay at the start.
    pub weight_decay: f64,
    /// Weight decay at the end.
    pub weight_decay_end: f64,
    /// AdamW's decay of the first moment.
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Largest gradient norm; 0 does not clip.
    pub clip: f64,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps between validations; 0 only at the end.
    pub validate_every: u64,
    /// Steps between checkpoints; 0 goes by `checkpoint_minutes` alone.
    pub checkpoint_every: u64,
    /// Minutes between checkpoints; 0 goes by steps alone.
    pub checkpoint_minutes: f64,
    /// Checkpoints kept.
    pub keep_checkpoints: usize,
    /// Steps between lines in `metrics.jsonl`.
    pub log_every: u64,
}

impl Default for Training {
    /// The published recipe of the transformer.
    fn default() -> Self {
        Self {
            steps: 0,
            epochs: 200.0,
            batch: 768,
            accumulation: 1,
            learning_rate: 0.0,
            shape: Shape::Flat(0.05),
            warmup: -0.02,
            warmup_start: 0.005,
            final_rate: 0.1,
            weight_decay: 0.05,
            weight_decay_end: 0.05,
            beta1: 0.9,
            beta2: 0.95,
            epsilon: 1e-8,
            clip: 2.0,
            seed: 0,
            validate_every: 0,
            checkpoint_every: 0,
            checkpoint_minutes: 10.0,
            keep_checkpoints: 2,
            log_every: 10,
        }
    }
}

impl Training {
    /// Steps of the run over `examples` training examples.
    pub fn total_steps(&self, examples: usize) -> u64 {
        if self.steps > 0 {
            return self.steps;
        }
        ((self.epochs * examples as f64 / self.batch.max(1) as f64).round() as u64).max(1)
    }

    /// Steps of warm-up that the settings ask for in a run of `steps` steps.
    pub fn asked_warmup(&self, steps: u64) -> f64 {
        if self.warmup < 0.0 { -self.warmup * steps as f64 } else { self.warmup }
    }

    /// The schedules for a run of `steps` steps; the warm-up is at most half of them.
    pub fn schedule(&self, steps: u64) -> Schedule {
        let peak =
            if self.learning_rate > 0.0 { self.learning_rate } else { 1e-4 * self.batch as f64 / 256.0 };
        Schedule {
            shape: self.shape,
            peak,
            warmup: self.asked_warmup(steps).min(steps as f64 / 2.0),
            steps,
            start: self.warmup_start,
            end: self.final_rate,
            decay: self.weight_decay,
            decay_end: self.weight_decay_end,
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::config(message));
        if self.steps > MOST_STEPS || self.batch as u64 > MOST_PICTURES {
            return fail(format!(
                "training.steps {} and training.batch {}: at most {MOST_STEPS} and {MOST_PICTURES}",
                self.steps, self.batch
            ));
        }
        if self.batch == 0 || self.accumulation == 0 || !self.batch.is_multiple_of(self.accumulation) {
            return fail(format!(
                "training.batch {} must be a positive multiple of training.accumulation {}",
                self.batch, self.accumulation
            ));
        }
        within(
            "training",
            &[
                ("learning_rate", self.learning_rate, 0.0..=10.0),
                ("warmup", self.warmup, -1.0..=1e9),
                ("warmup_start", self.warmup_start, 0.0..=1.0),
                ("final_rate", self.final_rate, 1e-9..=1.0),
                ("weight_decay", self.weight_decay, 0.0..=1e6),
                ("weight_decay_end", self.weight_decay_end, 0.0..=1e6),
                ("beta1", self.beta1, 0.0..=0.9999),
                ("beta2", self.beta2, 0.0..=0.99999),
                ("epsilon", self.epsilon, 0.0..=1.0),
                ("clip", self.clip, 0.0..=1e9),
                ("epochs", self.epochs, 0.0..=1e6),
                ("checkpoint_minutes", self.checkpoint_minutes, 0.0..=1e6),
            ],
        )?;
        if self.log_every == 0 {
            return fail("training.log_every = 0; use 1 or more".into());
        }
        Ok(())
    }
}

/// Most bytes that the pictures of one micro-batch may take.
const MOST_PIXEL_BYTES: usize = 8 << 30;

/// Names the first of some settings (name, value, range) of `section` that is out of range.
fn within(section: &str, settings: &[(&str, f64, std::ops::RangeInclusive<f64>)]) -> Result<()> {
    match settings.iter().find(|(_, value, range)| !range.contains(value)) {
        Some((name, value, range)) => Err(Error::config(format!(
            "{section}.{name} = {value} is out of range; use {} to {}",
            range.start(),
            range.end()
        ))),
        None => Ok(()),
    }
}

/// Size and regularisation of the transformer; classes and codes come with the tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Blocks.
    pub depth: usize,
    /// Channels; 0 takes `64 · depth`.
    pub width: usize,
    /// Heads; 0 takes `depth`.
    pub heads: usize,
    /// One AdaLN projection for all blocks.
    pub shared_adaln: bool,
    /// L2-normalised queries and keys.
    pub qk_norm: bool,
    /// Drop-path rate of the last block; a negative number takes the published `0.1 · depth / 24`.
    pub drop_path: f64,
    /// Probability with which a label becomes "no class".
    pub condition_drop: f64,
    /// Label smoothing.
    pub label_smoothing: f64,
    /// Standardise the input vectors per channel, with the statistics of the training tokens.
    pub standardise_inputs: bool,
    /// Probability of "no class" in validation; 0 gives the clean figure, 0.1 the published one.
    pub validation_drop: f64,
    /// Rows of the held-out set that a validation reads; 0 reads all.
    pub validation_rows: usize,
    /// Compute each block again in the backward pass instead of keeping its activations: less memory for about a
    /// third more work, and the same gradients.
    #[serde(default)]
    pub recompute: bool,
    /// Decay of the moving average of the weights that is kept beside them, for example 0.9999; 0 keeps none.
    #[serde(default)]
    pub ema: f64,
    /// Share of the run after which all scales are trained (published: `pg`); before, the first ones alone. 0
    /// trains all throughout. Above 0 the learning rate falls by `lin` of this share, as published.
    #[serde(default)]
    pub progressive: f64,
    /// Index of the last scale that is trained at the start (published: `pg0`).
    #[serde(default = "published_first")]
    pub progressive_first: usize,
    /// Steps over which the weight of a new scale rises to 1 (published: `pgwp`, there in epochs); a negative number
    /// takes that share of the run, 0 the published 300th.
    #[serde(default)]
    pub progressive_warmup: f64,
}

/// For run folders that are older than the setting.
fn published_first() -> usize {
    Model::default().progressive_first
}

impl Default for Model {
    fn default() -> Self {
        Self {
            depth: 16,
            width: 0,
            heads: 0,
            shared_adaln: false,
            qk_norm: true,
            drop_path: -1.0,
            condition_drop: 0.1,
            label_smoothing: 0.0,
            standardise_inputs: false,
            validation_drop: 0.0,
            validation_rows: 0,
            recompute: false,
            ema: 0.0,
            progressive: 0.0,
            progressive_first: 4,
            progressive_warmup: 0.0,
        }
    }
}

/// Settings of `var-train model`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRun {
    /// The loop.
    pub training: Training,
    /// The network.
    pub model: Model,
    /// Initial weights.
    pub initialisation: Initialisation,
}

impl ModelRun {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<()> {
        self.training.validate()?;
        let model = &self.model;
        within(
            "model",
            &[
                ("drop_path", model.drop_path, -1.0..=0.99),
                ("condition_drop", model.condition_drop, 0.0..=1.0),
                ("label_smoothing", model.label_smoothing, 0.0..=0.99),
                ("validation_drop", model.validation_drop, 0.0..=1.0),
                ("ema", model.ema, 0.0..=0.999_999),
                ("progressive", model.progressive, 0.0..=0.99),
                ("progressive_warmup", model.progressive_warmup, -1.0..=1e9),
            ],
        )?;
        let Initialisation { head, adaln, adaln_gamma } = self.initialisation;
        within(
            "initialisation",
            &[
                ("head", head, 0.0..=1e6),
                ("adaln", adaln, 0.0..=1e6),
                ("adaln_gamma", adaln_gamma, 0.0..=1e6),
            ],
        )
    }
}

/// What the tokenizer's trainer adds to the loop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerTraining {
    /// Share of the steps before quantization starts; the codebook then comes from k-means.
    pub quantize_from: f64,
    /// Pictures whose residuals k-means clusters.
    pub kmeans_pictures: usize,
    /// Rounds of k-means.
    pub kmeans_rounds: usize,
    /// Steps between replacements of codes that no vector chose; 0 never.
    pub replace_every: u64,
    /// Share of the steps after which codes are no longer replaced.
    pub replace_until: f64,
    /// Weight of the absolute error.
    pub l1: f64,
    /// Weight of the squared error.
    pub l2: f64,
    /// Weight of the VQ loss.
    pub vq: f64,
    /// Side of the pictures in pixels; 0: what schedule and levels make of it.
    pub image_side: usize,
    /// Random crops of larger pictures; off: centre crops.
    pub random_crop: bool,
    /// Mirror half of the pictures.
    pub flip: bool,
    /// Share of the codes below which a scale counts as collapsed.
    pub collapse: f64,
    /// Held-out pictures that a validation reads; 0 reads all.
    pub validation_pictures: usize,
}

impl Default for TokenizerTraining {
    fn default() -> Self {
        Self {
            quantize_from: 0.25,
            kmeans_pictures: 512,
            kmeans_rounds: 20,
            replace_every: 25,
            replace_until: 0.8,
            l1: 1.0,
            l2: 1.0,
            vq: 1.0,
            image_side: 0,
            random_crop: true,
            flip: false,
            collapse: 0.01,
            validation_pictures: 1024,
        }
    }
}

/// Settings of `var-train tokenizer`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRun {
    /// The loop.
    pub training: Training,
    /// The network.
    pub tokenizer: TokenizerConfig,
    /// Losses, start and upkeep of the codebook.
    pub recipe: TokenizerTraining,
}

impl Default for TokenizerRun {
    /// The small tokenizer for 32-pixel pictures.
    fn default() -> Self {
        let schedule: ScaleSchedule =
            "1,2,3,4,6,8".parse().unwrap_or_else(|_| ScaleSchedule::published_256());
        Self {
            training: Training {
                steps: 1600,
                batch: 32,
                learning_rate: 1e-3,
                shape: Shape::Flat(0.6),
                warmup: 20.0,
                warmup_start: 0.1,
                final_rate: 0.02,
                clip: 1.0,
                ..Training::default()
            },
            tokenizer: TokenizerConfig {
                channels: 32,
                channel_multipliers: vec![1, 2, 2],
                residual_blocks: 1,
                latent_channels: 16,
                vocabulary: 512,
                schedule,
                phi: PhiSharing::Partial(4),
                phi_ratio: 0.5,
                z_norm: false,
                commitment: 0.25,
            },
            recipe: TokenizerTraining::default(),
        }
    }
}

impl TokenizerRun {
    /// Checks the ranges, and that pictures, levels and schedule fit together.
    ///
    /// # Errors
    /// Names the first setting that is out of range or does not fit.
    pub fn validate(&self) -> Result<()> {
        self.training.validate()?;
        self.tokenizer.validate()?;
        let recipe = &self.recipe;
        if recipe.image_side > 0 {
            self.tokenizer.check_side(recipe.image_side).map_err(|e| {
                Error::config(format!("{e} (recipe.image_side = {}; 0 takes what fits)", recipe.image_side))
            })?;
        }
        within(
            "recipe",
            &[
                ("quantize_from", recipe.quantize_from, 0.0..=0.95),
                ("replace_until", recipe.replace_until, 0.0..=1.0),
                ("l1", recipe.l1, 0.0..=1e6),
                ("l2", recipe.l2, 0.0..=1e6),
                ("vq", recipe.vq, 0.0..=1e6),
                ("collapse", recipe.collapse, 0.0..=1.0),
            ],
        )?;
        let side = self.tokenizer.image_side();
        let micro = self.training.batch / self.training.accumulation;
        let bytes = [micro, 3 * 4, side, side].iter().fold(1_usize, |all, n| all.saturating_mul(*n));
        if bytes > MOST_PIXEL_BYTES {
            return Err(Error::config(format!(
                "{micro} pictures of {side} pixels at once take {} GiB; make training.batch smaller or \
                 training.accumulation larger",
                bytes >> 30
            )));
        }
        Ok(())
    }
}
