//! The report of a training step.

use serde::{Deserialize, Serialize};

/// One training step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// The losses of the step.
    #[serde(flatten)]
    pub losses: Losses,
    /// Learning rate of the step.
    #[serde(default)]
    pub lr: f64,
    /// Weight decay of the step.
    #[serde(default)]
    pub wd: f64,
    /// Norm of the gradient before clipping; `None` when it overflowed in fp16 and the step was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grad_norm: Option<f64>,
    /// Images seen since the start of the run, repeats included.
    #[serde(default)]
    pub images: u64,
    /// Tokens seen since the start of the run, repeats included.
    #[serde(default)]
    pub tokens: u64,
    /// Seconds of training since the start of the run, over all processes that worked on it.
    #[serde(default)]
    pub seconds: f64,
    /// Rates since the last step that had them; `None` between two lines of the log.
    #[serde(flatten)]
    pub rates: Option<Rates>,
}

impl StepReport {
    /// The loss that the step minimises.
    pub fn loss(&self) -> f64 {
        self.losses.loss()
    }
}

/// The losses of a step, by network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Losses {
    /// Of the transformer.
    Model(ModelLosses),
    /// Of the tokenizer.
    Tokenizer(TokenizerLosses),
}

impl Losses {
    /// The loss that the step minimises.
    pub fn loss(&self) -> f64 {
        match self {
            Self::Model(losses) => losses.loss,
            Self::Tokenizer(losses) => losses.loss,
        }
    }

    /// A warning about the step, in a sentence.
    pub fn alarm(&self) -> Option<&str> {
        match self {
            Self::Model(_) => None,
            Self::Tokenizer(losses) => losses.alarm.as_deref(),
        }
    }
}

/// The losses of a step of the transformer. Losses are in nats per token; errors are shares of tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelLosses {
    /// Cross-entropy over all tokens that are trained.
    pub loss_all: f64,
    /// Cross-entropy over the last scale; `None` while progressive training does not reach it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_last: Option<f64>,
    /// Share of wrong tokens.
    pub err_all: f64,
    /// Share of wrong tokens of the last scale; `None` as for `loss_last`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub err_last: Option<f64>,
    /// Cross-entropy per scale; `None` between two lines of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_per_scale: Option<Vec<f64>>,
    /// Share of wrong tokens per scale; `None` between two lines of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub err_per_scale: Option<Vec<f64>>,
    /// The loss that the step minimises.
    pub loss: f64,
    /// Factor of the loss in fp16; `None` in other precisions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_scale: Option<f64>,
    /// Number of scales that are trained; `None` without progressive training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<usize>,
    /// Weight of the newest of these scales, 0.01 to 1; `None` without progressive training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest_weight: Option<f64>,
}

/// The losses of a step of the tokenizer, on pixels in [-1, 1].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TokenizerLosses {
    /// The weighted sum that the step minimises.
    pub loss: f64,
    /// Mean absolute error of the pixels.
    pub l1: f64,
    /// Mean squared error of the pixels.
    pub l2: f64,
    /// VQ loss; 0 before quantization starts.
    pub vq: f64,
    /// Perceptual distance; `None` without that loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perceptual: Option<f64>,
    /// Of the discriminator; `None` until it starts.
    #[serde(flatten)]
    pub adversary: Option<AdversaryLosses>,
    /// Number of scales of the batch, if it keeps only the first ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scales: Option<usize>,
    /// A warning, when a scale uses almost no codes, or the discriminator does not work.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarm: Option<String>,
    /// Share of the codes in use, per scale; `None` before quantization and between two lines of the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_per_scale: Option<Vec<f64>>,
    /// Perplexity of the codes, per scale; `None` as for `used_per_scale`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub perplexity_per_scale: Option<Vec<f64>>,
}

/// What a step of adversarial training gives.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct AdversaryLosses {
    /// The tokenizer's adversarial loss.
    pub g_loss: f64,
    /// Its weight: adapted, and multiplied by the share that counts at this step.
    pub g_weight: f64,
    /// The discriminator's loss, regularisers included.
    pub d_loss: f64,
    /// Mean logit of real images.
    pub d_real_logit: f64,
    /// Mean logit of reconstructions.
    pub d_fake_logit: f64,
    /// Share of the logits of real images above 0.
    pub d_real_right: f64,
    /// Share of the logits of reconstructions below 0.
    pub d_fake_right: f64,
    /// Norm of the discriminator's gradient before clipping.
    pub d_grad_norm: f64,
}

/// Rates over the steps since the last line of the log, without validations and checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Rates {
    /// Images per second.
    pub images_per_second: f64,
    /// Tokens per second.
    pub tokens_per_second: f64,
    /// FLOPs per second.
    pub flops_per_second: f64,
    /// Share of the peak of a matrix product; `None` where the peak is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mfu: Option<f64>,
    /// Share of the time that steps waited for data.
    pub data_wait: f64,
}
