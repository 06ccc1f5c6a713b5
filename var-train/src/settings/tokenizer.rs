//! The settings of a tokenizer's run.

use serde::{Deserialize, Serialize};
use var_tokenizer::{PhiSharing, ScaleSchedule, TokenizerConfig};

use super::adversary::{AdversaryTraining, PerceptualTraining};
use super::training::{Training, share_of, within};
use crate::error::{Error, Result};
use crate::schedule::Shape;

/// Most bytes for the images of one micro-batch.
const MOST_PIXEL_BYTES: usize = 8 << 30;

/// Losses, codebook and images of a tokenizer's run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerTraining {
    /// A tokenizer whose weights and codebook the run starts from: a file, or `builtin`. Empty starts from random weights.
    #[serde(default)]
    pub start_from: String,
    /// Share of the steps before quantization starts. The codebook then starts from k-means.
    pub quantize_from: f64,
    /// Images whose residuals k-means clusters.
    pub kmeans_pictures: usize,
    /// Rounds of k-means.
    pub kmeans_rounds: usize,
    /// Steps between replacements of codes that no vector chose; 0 replaces none.
    pub replace_every: u64,
    /// Share of the steps after which no code is replaced.
    pub replace_until: f64,
    /// Weight of the absolute error.
    pub l1: f64,
    /// Weight of the squared error.
    pub l2: f64,
    /// Weight of the VQ loss.
    pub vq: f64,
    /// Side of the images in pixels; 0 takes the side that schedule and levels give.
    pub image_side: usize,
    /// Random crops of larger images; otherwise centre crops.
    pub random_crop: bool,
    /// Mirrors half of the images.
    pub flip: bool,
    /// Share of the moving average of the weights that stays per step; 0 keeps no average. With one, scores and the finished
    /// tokenizer are those of the average.
    #[serde(default)]
    pub ema: f64,
    /// Share of the batches that keep only some of their first scales. They have pixel and VQ losses only.
    #[serde(default)]
    pub scale_dropout: f64,
    /// Least number of scales that such a batch keeps.
    #[serde(default = "one")]
    pub scale_dropout_keeps: usize,
    /// Share of the codes below which a scale counts as collapsed.
    pub collapse: f64,
    /// Held-out images per validation; 0 reads all.
    pub validation_pictures: usize,
}

/// One, for settings that older run folders do not have.
fn one() -> usize {
    1
}

impl TokenizerTraining {
    /// The first step of `steps` with quantization: 0 if the run starts from a tokenizer, which has its codebook.
    pub(crate) fn first_quantized(&self, steps: u64) -> u64 {
        if self.start_from.is_empty() { share_of(steps, self.quantize_from) as u64 } else { 0 }
    }

    /// The first step of `steps` that replaces no code any more.
    pub(crate) fn replacements_end(&self, steps: u64) -> u64 {
        share_of(steps, self.replace_until) as u64
    }
}

impl Default for TokenizerTraining {
    fn default() -> Self {
        Self {
            start_from: String::new(),
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
            ema: 0.0,
            scale_dropout: 0.0,
            scale_dropout_keeps: 1,
            collapse: 0.01,
            validation_pictures: 1024,
        }
    }
}

/// Settings of a tokenizer's run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerRun {
    /// Length, batch, optimizer, schedule, log and checkpoints.
    pub training: Training,
    /// The network.
    pub tokenizer: TokenizerConfig,
    /// Losses, codebook and images.
    pub recipe: TokenizerTraining,
    /// The perceptual loss.
    #[serde(default)]
    pub perceptual: PerceptualTraining,
    /// The discriminator.
    #[serde(default)]
    pub adversary: AdversaryTraining,
}

impl Default for TokenizerRun {
    /// The small tokenizer for 32-pixel images.
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
            perceptual: PerceptualTraining::default(),
            adversary: AdversaryTraining::default(),
        }
    }
}

impl TokenizerRun {
    /// Checks the ranges, and that images, levels and schedule fit together.
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
                ("ema", recipe.ema, 0.0..=0.999_999),
                ("scale_dropout", recipe.scale_dropout, 0.0..=1.0),
                ("collapse", recipe.collapse, 0.0..=1.0),
            ],
        )?;
        let side = self.tokenizer.image_side();
        self.perceptual.validate(side)?;
        self.adversary.validate(side)?;
        let scales = self.tokenizer.schedule.scales();
        if recipe.scale_dropout > 0.0 && !(1..scales).contains(&recipe.scale_dropout_keeps) {
            return Err(Error::config(format!(
                "recipe.scale_dropout_keeps = {}; expected 1 to {} for {scales} scales",
                recipe.scale_dropout_keeps,
                scales.saturating_sub(1)
            )));
        }
        let micro = self.training.batch / self.training.accumulation;
        let bytes = [micro, 3 * 4, side, side].iter().fold(1_usize, |all, n| all.saturating_mul(*n));
        if bytes > MOST_PIXEL_BYTES {
            return Err(Error::config(format!(
                "{micro} images of {side} pixels at once take {} GiB; lower training.batch, or raise \
                 training.accumulation",
                bytes >> 30
            )));
        }
        Ok(())
    }
}
