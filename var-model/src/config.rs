//! Configuration of the transformer.

use serde::{Deserialize, Serialize};
use var_tokenizer::ScaleSchedule;

use crate::error::{Error, Result};
use crate::order::Order;

/// Hidden width of the feed-forward part, in widths.
pub const MLP_RATIO: usize = 4;

/// Everything that fixes the transformer's architecture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransformerConfig {
    /// Number of blocks.
    pub depth: usize,
    /// Channels `C` of a token.
    pub width: usize,
    /// Attention heads; they divide the width.
    pub heads: usize,
    /// Classes; one more embedding stands for "no class".
    pub classes: usize,
    /// Codes `V` that a token chooses from.
    pub vocabulary: usize,
    /// Channels `z` of the tokenizer's latent.
    pub latent_channels: usize,
    /// Sides of the token maps.
    pub schedule: ScaleSchedule,
    /// Which tokens are predicted together; files from before there were two do not state it.
    #[serde(default, skip_serializing_if = "Order::is_next_scale")]
    pub order: Order,
    /// The class scales, shifts and gates every block (AdaLN). Without it, the class is the start token only, and blocks have
    /// plain norms and gates of their own.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub adaln: bool,
    /// One AdaLN projection for all blocks instead of one each.
    pub shared_adaln: bool,
    /// Queries and keys L2-normalised, with a learned temperature a head.
    pub qk_norm: bool,
    /// What is taken off the input vectors before `word_embed`; the released models have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Standardisation>,
}

fn yes() -> bool {
    true
}

fn is_yes(value: &bool) -> bool {
    *value
}

/// Mean and deviation of the input vectors, per latent channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standardisation {
    /// Mean, `[z]`.
    pub mean: Vec<f32>,
    /// Standard deviation, `[z]`, positive.
    pub deviation: Vec<f32>,
}

impl TransformerConfig {
    /// The published size of depth `d`: width `64·d`, `d` heads, QK-norm, ImageNet's classes and the
    /// released tokenizer at 256 pixels.
    pub fn published(depth: usize) -> Self {
        Self {
            depth,
            width: depth.saturating_mul(64),
            heads: depth,
            classes: 1000,
            vocabulary: 4096,
            latent_channels: 32,
            schedule: ScaleSchedule::published_256(),
            order: Order::NextScale,
            adaln: true,
            shared_adaln: false,
            qk_norm: true,
            input: None,
        }
    }

    /// Channels of one head.
    pub fn head_width(&self) -> usize {
        self.width / self.heads.max(1)
    }

    /// Published drop-path rate of the last block, `0.1·depth/24`.
    pub fn published_drop_path(&self) -> f64 {
        0.1 * self.depth as f64 / 24.0
    }

    /// Checks that the parts fit together and are of sizes whose costs can be counted without overflow.
    ///
    /// # Errors
    /// Names the first part that does not, or is out of range.
    pub fn validate(&self) -> Result<()> {
        let fail = |message: String| Err(Error::Config(message));
        if self.depth == 0 || self.depth > 256 {
            return fail(format!("depth is {}; it must be from 1 to 256", self.depth));
        }
        if self.width == 0 || self.width > 1 << 16 {
            return fail(format!("width is {}; it must be from 1 to 65536", self.width));
        }
        if !self.width.is_multiple_of(self.heads) {
            return fail(format!("width {} must be a multiple of heads {}", self.width, self.heads));
        }
        for (name, number, least, most) in [
            ("classes", self.classes, 1, 1 << 20),
            ("vocabulary", self.vocabulary, 2, 1 << 24),
            ("latent_channels", self.latent_channels, 1, 1 << 16),
        ] {
            if !(least..=most).contains(&number) {
                return fail(format!("{name} {number}: {least} to {most}"));
            }
        }
        if let Some(input) = &self.input {
            let z = self.latent_channels;
            let positive = input.deviation.iter().all(|&d| d.is_finite() && d > 0.0);
            if input.mean.len() != z || input.deviation.len() != z || !positive {
                return fail(format!("input standardisation needs {z} means and {z} positive deviations"));
            }
        }
        if self.shared_adaln && !self.adaln {
            return fail("shared_adaln needs adaln: set adaln=true, or shared_adaln=false".into());
        }
        self.check_order()
    }

    /// Checks that the order fits the token maps.
    fn check_order(&self) -> Result<()> {
        if self.order == Order::Raster && self.schedule.scales() != 1 {
            return Err(Error::Config(format!(
                "order raster needs a tokenizer with one token map; this one has the schedule {}. Train a tokenizer with \
                 `schedule={}`",
                self.schedule,
                self.schedule.last_side()
            )));
        }
        Ok(())
    }
}
