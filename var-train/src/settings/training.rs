//! The settings that both trainers share: length, batch, optimizer, schedule, log and checkpoints.

use serde::{Deserialize, Serialize};
use var_model::cost::{MOST_PICTURES, MOST_STEPS};

use crate::error::{Error, Result};
use crate::schedule::{Schedule, Shape};

/// Settings that both trainers share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Optimizer steps; 0 uses `epochs`.
    pub steps: u64,
    /// Passes over the training set when `steps` is 0.
    pub epochs: f64,
    /// Images per step, over all micro-batches.
    pub batch: usize,
    /// Micro-batches per step; more of them need less memory.
    pub accumulation: usize,
    /// Peak learning rate; 0 uses the published `1e-4 · batch / 256`.
    pub learning_rate: f64,
    /// Shape of the learning rate after the warm-up.
    pub shape: Shape,
    /// Warm-up in steps; a negative number is a share of the run (−0.02: 2%).
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
    /// Steps between validations; 0 validates at the end only.
    pub validate_every: u64,
    /// Steps between checkpoints; 0 uses `checkpoint_minutes` only.
    pub checkpoint_every: u64,
    /// Minutes between checkpoints; 0 uses `checkpoint_every` only.
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

    /// Steps of warm-up before the limit of half a run, in a run of `steps` steps.
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

/// A share of the steps of a run.
pub(super) fn share_of(steps: u64, share: f64) -> f64 {
    (steps as f64 * share).round()
}

/// Names the first of some settings (name, value, range) of `section` that is out of range.
pub(super) fn within(section: &str, settings: &[(&str, f64, std::ops::RangeInclusive<f64>)]) -> Result<()> {
    match settings.iter().find(|(_, value, range)| !range.contains(value)) {
        Some((name, value, range)) => Err(Error::config(format!(
            "{section}.{name} = {value} is out of range; use {} to {}",
            range.start(),
            range.end()
        ))),
        None => Ok(()),
    }
}
