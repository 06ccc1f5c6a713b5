//! The settings of the perceptual and adversarial losses of a tokenizer's run.

use serde::{Deserialize, Serialize};

use super::training::{share_of, within};
use crate::error::{Error, Result};
use crate::tokenizer::discriminator::Shape;
use crate::tokenizer::losses::AdversarialLoss;
use crate::tokenizer::perceptual::PerceptualNetwork;

/// The perceptual loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PerceptualTraining {
    /// Weight of the loss; 0 turns it off.
    pub weight: f64,
    /// Share of the steps before the loss counts. Steps without it take half the time.
    pub start: f64,
    /// The network.
    pub network: PerceptualNetwork,
    /// File of the network; empty takes the fetched one (ST-LPIPS).
    pub weights: String,
    /// File of the heads, for LPIPS.
    pub heads: String,
}

impl Default for PerceptualTraining {
    fn default() -> Self {
        Self {
            weight: 0.0,
            start: 0.0,
            network: PerceptualNetwork::StLpipsAlex,
            weights: String::new(),
            heads: String::new(),
        }
    }
}

/// The discriminator and its loss.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdversaryTraining {
    /// Weight of the generator's adversarial loss; 0 trains without a discriminator.
    pub weight: f64,
    /// Hinge or logistic.
    pub loss: AdversarialLoss,
    /// Convolutions of the discriminator with stride 2.
    pub layers: usize,
    /// Channels of its first layer.
    pub width: usize,
    /// Share of the steps before the discriminator trains.
    pub start: f64,
    /// Share of the steps over which the weight then rises to its value.
    pub ramp: f64,
    /// Multiplies the weight by the ratio of the gradients at the last layer.
    pub adaptive: bool,
    /// Learning rate of the discriminator, as a multiple of the tokenizer's.
    pub rate: f64,
    /// Divides each filter by its largest singular value.
    pub spectral_norm: bool,
    /// Judges real images and reconstructions in one batch.
    pub joint_batch: bool,
    /// Uses the running statistics of batch norm in the tokenizer's pass; goes with `joint_batch`.
    pub running_statistics: bool,
    /// Shifts, recolours and cuts all images that the discriminator sees.
    pub augment: bool,
    /// Share of the steps, from the start on, over which a blur of all that the discriminator sees fades; 0 does not blur.
    pub blur: f64,
    /// Weight of LeCam's regulariser.
    pub lecam: f64,
    /// Share of LeCam's averages that stays per step.
    pub lecam_decay: f64,
    /// Weight of the consistency of logits under a stronger augmentation.
    pub consistency: f64,
}

impl Default for AdversaryTraining {
    fn default() -> Self {
        Self {
            weight: 0.0,
            loss: AdversarialLoss::Hinge,
            layers: 2,
            width: 32,
            start: 0.4,
            ramp: 0.05,
            adaptive: true,
            rate: 1.0,
            spectral_norm: true,
            joint_batch: true,
            running_statistics: true,
            augment: true,
            blur: 0.0,
            lecam: 0.001,
            lecam_decay: 0.99,
            consistency: 0.0,
        }
    }
}

impl PerceptualTraining {
    /// Whether the run has this loss.
    pub fn is_on(&self) -> bool {
        self.weight > 0.0
    }

    /// Whether the loss counts at `step` of a run of `steps`.
    pub(crate) fn counts_at(&self, step: u64, steps: u64) -> bool {
        self.is_on() && step as f64 >= share_of(steps, self.start)
    }

    /// Number of the steps of a run of `steps` with the loss.
    pub(crate) fn steps_with(&self, steps: u64) -> f64 {
        if self.is_on() { (steps as f64 - share_of(steps, self.start)).max(0.0) } else { 0.0 }
    }

    /// Checks the ranges, and that images of `side` pixels are large enough.
    pub(super) fn validate(&self, side: usize) -> Result<()> {
        within("perceptual", &[("weight", self.weight, 0.0..=1e6), ("start", self.start, 0.0..=1.0)])?;
        if self.is_on() { self.network.check_side(side) } else { Ok(()) }
    }
}

impl AdversaryTraining {
    /// Whether the run has a discriminator.
    pub fn is_on(&self) -> bool {
        self.weight > 0.0
    }

    /// The shape of the discriminator.
    pub(crate) fn shape(&self) -> Shape {
        Shape { layers: self.layers, width: self.width, spectral_norm: self.spectral_norm }
    }

    /// Checks the ranges, and that images of `side` pixels leave a logit.
    pub(super) fn validate(&self, side: usize) -> Result<()> {
        within(
            "adversary",
            &[
                ("weight", self.weight, 0.0..=1e6),
                ("start", self.start, 0.0..=1.0),
                ("ramp", self.ramp, 0.0..=1.0),
                ("rate", self.rate, 0.0..=1e3),
                ("blur", self.blur, 0.0..=1.0),
                ("lecam", self.lecam, 0.0..=1e6),
                ("lecam_decay", self.lecam_decay, 0.0..=1.0),
                ("consistency", self.consistency, 0.0..=1e6),
            ],
        )?;
        for (name, value, most) in [("layers", self.layers, 8), ("width", self.width, 4096)] {
            if !(1..=most).contains(&value) {
                return Err(Error::config(format!("adversary.{name} = {value}; expected 1 to {most}")));
            }
        }
        if self.consistency > 0.0 && !self.augment {
            return Err(Error::config(
                "adversary.consistency compares augmented images: set adversary.augment = true",
            ));
        }
        if self.is_on() { self.shape().check_side(side) } else { Ok(()) }
    }

    /// The share of the weight at `step` of a run of `steps`: 0 before the start, then rising to 1.
    pub(crate) fn factor(&self, step: u64, steps: u64) -> f64 {
        let since = self.since(step, steps);
        if since < 0.0 { 0.0 } else { ((since + 1.0) / share_of(steps, self.ramp).max(1.0)).min(1.0) }
    }

    /// The width of the blur at `step` of a run of `steps`: 1 at the start, then falling to 0.
    pub(crate) fn blur_at(&self, step: u64, steps: u64) -> f64 {
        if self.blur <= 0.0 {
            return 0.0;
        }
        (1.0 - self.since(step, steps) / share_of(steps, self.blur).max(1.0)).clamp(0.0, 1.0)
    }

    /// Number of the steps of a run of `steps` with the discriminator.
    pub(crate) fn steps_with(&self, steps: u64) -> f64 {
        if self.is_on() { self.since(steps, steps).max(0.0) } else { 0.0 }
    }

    /// Steps since the start; below 0 before it.
    fn since(&self, step: u64, steps: u64) -> f64 {
        step as f64 - share_of(steps, self.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_blur_fades_from_the_start_on_over_its_share_of_the_run() {
        let settings = AdversaryTraining { start: 0.5, blur: 0.04, ..AdversaryTraining::default() };
        let found: Vec<f64> = [50, 51, 53, 54, 99].map(|step| settings.blur_at(step, 100)).into();
        assert_eq!(found, [1.0, 0.75, 0.25, 0.0, 0.0]);
        assert_eq!(AdversaryTraining { blur: 0.0, ..settings }.blur_at(50, 100), 0.0);
    }
}
