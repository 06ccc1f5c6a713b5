//! Configuration of the tokenizer.

use serde::{Deserialize, Serialize};

use crate::data::schedule::ScaleSchedule;
use crate::runtime::error::{Error, Result};

/// How the φ convolutions are shared among the scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhiSharing {
    /// One convolution for all scales.
    Shared,
    /// This many convolutions; each scale takes the nearest. The released tokenizer has 4.
    Partial(usize),
    /// One convolution a scale.
    PerScale,
}

impl PhiSharing {
    /// Number of convolutions for `scales` scales.
    pub fn count(self, scales: usize) -> usize {
        match self {
            Self::Shared => 1,
            Self::Partial(count) => count,
            Self::PerScale => scales,
        }
    }
}

/// Everything that fixes the tokenizer's architecture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerConfig {
    /// Channels of the first level.
    pub channels: usize,
    /// Channel multiplier of each level; each level but the last halves the side.
    pub channel_multipliers: Vec<usize>,
    /// Residual blocks a level in the encoder; the decoder has one more.
    pub residual_blocks: usize,
    /// Channels `z` of the latent.
    pub latent_channels: usize,
    /// Codes `V` in the codebook.
    pub vocabulary: usize,
    /// Sides of the token maps.
    pub schedule: ScaleSchedule,
    /// Sharing of the φ convolutions.
    pub phi: PhiSharing,
    /// Weight of the convolution in φ; 0 makes φ the identity.
    pub phi_ratio: f64,
    /// Looks codes up by cosine instead of Euclidean distance.
    pub z_norm: bool,
    /// Weight β of the commitment term.
    pub commitment: f64,
}

impl TokenizerConfig {
    /// The released tokenizer: f16, 108.9M parameters, 256-pixel images.
    pub fn published() -> Self {
        Self {
            channels: 160,
            channel_multipliers: vec![1, 1, 2, 2, 4],
            residual_blocks: 2,
            latent_channels: 32,
            vocabulary: 4096,
            schedule: ScaleSchedule::published_256(),
            phi: PhiSharing::Partial(4),
            phi_ratio: 0.5,
            z_norm: false,
            commitment: 0.25,
        }
    }

    /// How many pixels a side one latent position covers: 2 to the number of levels less one.
    pub fn downsampling(&self) -> usize {
        1 << self.channel_multipliers.len().saturating_sub(1)
    }

    /// Returns the side of the images that fit the schedule, in pixels.
    pub fn image_side(&self) -> usize {
        self.schedule.last_side() * self.downsampling()
    }

    /// Checks that the parts fit together.
    ///
    /// # Errors
    /// Names the first part that does not, and what would.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Config(message));
        if self.channel_multipliers.is_empty() || self.channel_multipliers.len() > 8 {
            return fail("channel_multipliers: 1 to 8 levels are needed, e.g. [1, 2, 2]".into());
        }
        for &m in &self.channel_multipliers {
            let width = self.channels.saturating_mul(m);
            if width == 0 || !width.is_multiple_of(32) || width > 8192 {
                return fail(format!(
                    "channels {} × multiplier {m} = {width}: every level needs a multiple of 32 (GroupNorm has 32 groups)",
                    self.channels
                ));
            }
        }
        if self.residual_blocks == 0 || self.residual_blocks > 16 {
            return fail(format!("residual_blocks {}: 1 to 16", self.residual_blocks));
        }
        if self.latent_channels == 0 || self.latent_channels > 4096 {
            return fail(format!("latent_channels {}: 1 to 4096", self.latent_channels));
        }
        if self.vocabulary < 2 || self.vocabulary > 1 << 20 {
            return fail(format!("vocabulary {}: 2 to 1048576", self.vocabulary));
        }
        if !(0.0..=1.0).contains(&self.phi_ratio) {
            return fail(format!("phi_ratio {}: 0 to 1", self.phi_ratio));
        }
        if let PhiSharing::Partial(count) = self.phi
            && !(1..=256).contains(&count)
        {
            return fail(format!("phi: partial sharing among {count} convolutions; 1 to 256"));
        }
        Ok(())
    }

    /// Checks that images of `side` pixels give the last side of the schedule.
    ///
    /// # Errors
    /// When they do not. The message gives both sides.
    pub fn check_side(&self, side: usize) -> Result<()> {
        if side == self.image_side() {
            return Ok(());
        }
        let fits = self.image_side();
        if !side.is_multiple_of(self.downsampling()) {
            return Err(Error::Config(format!(
                "images of {side} pixels: the side must be a multiple of {}; the schedule {} needs {fits} pixels",
                self.downsampling(),
                self.schedule
            )));
        }
        Err(Error::Config(format!(
            "images of {side} pixels give a latent of {}×{0} (downsampling {}), but the schedule {} ends with side {}; \
             use {}-pixel images or a schedule that ends with {0}",
            side / self.downsampling(),
            self.downsampling(),
            self.schedule,
            self.schedule.last_side(),
            fits
        )))
    }
}
