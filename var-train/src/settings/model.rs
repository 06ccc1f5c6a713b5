//! The settings of a transformer's run.

use serde::{Deserialize, Serialize};
use var_model::Order;
use var_model::transformer::Initialisation;

use super::scale_weights::ScaleWeights;
use super::training::{Training, within};
use crate::error::{Error, Result};
use crate::schedule::Shape;

/// Size and regularisation of the transformer. Classes and vocabulary come from the token file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// Blocks.
    pub depth: usize,
    /// Channels; 0 takes `64 · depth`.
    pub width: usize,
    /// Heads; 0 takes `depth`.
    pub heads: usize,
    /// Order of generation: `next-scale`, or `raster` (one token per step, for a tokenizer with one token map).
    #[serde(default)]
    pub order: Order,
    /// The class scales, shifts and gates every block. Without it, the class is the start token only.
    #[serde(default = "yes")]
    pub adaln: bool,
    /// All blocks share one AdaLN projection.
    pub shared_adaln: bool,
    /// L2-normalised queries and keys.
    pub qk_norm: bool,
    /// Drop-path rate of the last block; a negative number takes the published `0.1 · depth / 24`.
    pub drop_path: f64,
    /// Probability with which a label becomes "no class".
    pub condition_drop: f64,
    /// Label smoothing.
    pub label_smoothing: f64,
    /// Weights of the scales in the loss: `"uniform"` (every token the same), `"normal"` (most for the middle scales), or
    /// a list with one number per scale.
    #[serde(default)]
    pub scale_loss_weights: ScaleWeights,
    /// Standardise the input vectors per channel, with the statistics of the training tokens.
    pub standardise_inputs: bool,
    /// Probability of "no class" in validation; 0 gives the clean figure, 0.1 the published one.
    pub validation_drop: f64,
    /// Held-out rows per validation; 0 reads all.
    pub validation_rows: usize,
    /// The backward pass computes each block again and keeps no activations: less memory, a third more work, the same
    /// gradients.
    #[serde(default)]
    pub recompute: bool,
    /// Decay of the moving average of the weights, for example 0.9999; 0 keeps no average. With one, validations score it, too.
    #[serde(default)]
    pub ema: f64,
    /// Share of the run after which all scales are trained (published: `pg`); 0 trains all scales from the start. Above
    /// 0 the learning rate has the published shape, `lin` with this share.
    #[serde(default)]
    pub progressive: f64,
    /// Index of the last scale that is trained at the start (published: `pg0`).
    #[serde(default = "published_first")]
    pub progressive_first: usize,
    /// Steps over which the weight of a new scale rises to 1 (published: `pgwp`, in epochs). A negative number is a
    /// share of the run; 0 is the published share, 1/300.
    #[serde(default)]
    pub progressive_warmup: f64,
}

fn yes() -> bool {
    true
}

/// The default for run folders that are older than the setting.
fn published_first() -> usize {
    Model::default().progressive_first
}

impl Default for Model {
    fn default() -> Self {
        Self {
            depth: 16,
            width: 0,
            heads: 0,
            order: Order::NextScale,
            adaln: true,
            shared_adaln: false,
            qk_norm: true,
            drop_path: -1.0,
            condition_drop: 0.1,
            label_smoothing: 0.0,
            scale_loss_weights: ScaleWeights::default(),
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

/// Settings of a transformer's run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRun {
    /// Length, batch, optimizer, schedule, log and checkpoints.
    pub training: Training,
    /// The network.
    pub model: Model,
    /// Initial weights.
    pub initialisation: Initialisation,
}

impl ModelRun {
    /// Sets the published shape of the learning rate where training is progressive.
    pub(crate) fn follow_progressive(&mut self) {
        if self.model.progressive > 0.0 {
            self.training.shape = Shape::Knee(self.model.progressive);
        }
    }

    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the first setting that is out of range.
    pub fn validate(&self) -> Result<()> {
        self.training.validate()?;
        let model = &self.model;
        if model.order == Order::Raster && model.progressive > 0.0 {
            return Err(Error::config(
                "model.progressive trains scale after scale, and order raster has one scale; set progressive=0",
            ));
        }
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
