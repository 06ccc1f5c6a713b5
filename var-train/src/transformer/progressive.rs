//! Progressive training: it starts with the coarse scales, and finer ones join one by one.
//!
//! Source: `train.py` and `trainer.py` of the published code (`pg`, `pg0`, `pgwp`).

use crate::error::{Error, Result};
use crate::schedule::Progression;
use crate::settings::ModelRun;

/// Share of the run over which the weight of a new scale rises, if the setting is 0.
const PUBLISHED_WARMUP: f64 = 1.0 / 300.0;
/// Smallest weight of a new scale.
const LEAST: f64 = 0.01;

/// The scales that are trained at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stage {
    /// Number of scales, coarse to fine.
    pub scales: usize,
    /// Weight of the newest of them in the loss, 0.01 to 1; the others have 1.
    pub newest: f64,
}

/// The stages of a run: a function of the step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stages {
    progression: Progression,
    warmup: f64,
}

impl Stages {
    /// The stages of `settings` in a run of `steps` steps on `scales` scales; `None` when all scales train from the start.
    ///
    /// # Errors
    /// When the first stage has more scales than the tokens.
    pub(crate) fn of(settings: &ModelRun, steps: u64, scales: usize) -> Result<Option<Self>> {
        let model = &settings.model;
        if model.progressive <= 0.0 {
            return Ok(None);
        }
        if model.progressive_first >= scales {
            return Err(Error::config(format!(
                "model.progressive_first = {}: the tokens have {scales} scales; use 0 to {}",
                model.progressive_first,
                scales.saturating_sub(1)
            )));
        }
        let whole = steps as f64;
        let warmup = match model.progressive_warmup {
            0.0 => PUBLISHED_WARMUP * whole,
            share if share < 0.0 => -share * whole,
            steps => steps,
        };
        let progression = Progression {
            share: model.progressive,
            first: model.progressive_first,
            warmup: settings.training.schedule(steps).warmup,
            steps,
            scales,
        };
        Ok(Some(Self { progression, warmup }))
    }

    /// The stage of `step` (from 0). The scales of the first stage, and the last scale of all, have their full weight at
    /// once, as published.
    pub(crate) fn at(&self, step: u64) -> Stage {
        let index = self.progression.scale_index(step);
        let scales = index + 1;
        if index <= self.progression.first || scales >= self.progression.scales {
            return Stage { scales, newest: 1.0 };
        }
        // The first step of this stage: the index never falls.
        let (mut before, mut begun) = (0, step);
        while begun - before > 1 {
            let middle = before + (begun - before) / 2;
            if self.progression.scale_index(middle) < index { before = middle } else { begun = middle }
        }
        let done = (step - begun + 1) as f64;
        Stage { scales, newest: (done / self.warmup.max(1e-12)).clamp(LEAST, 1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Model, Training};

    fn settings(progressive: f64, first: usize, warmup: f64) -> ModelRun {
        ModelRun {
            training: Training { warmup: 10.0, ..Training::default() },
            model: Model {
                progressive,
                progressive_first: first,
                progressive_warmup: warmup,
                ..Model::default()
            },
            ..ModelRun::default()
        }
    }

    #[test]
    fn scales_join_one_by_one_and_their_weight_rises_once_each() {
        let stages = Stages::of(&settings(0.8, 1, 8.0), 200, 6).unwrap().unwrap();
        let all: Vec<Stage> = (0..200).map(|step| stages.at(step)).collect();
        assert_eq!(all[0], Stage { scales: 2, newest: 1.0 });
        assert_eq!(all[160], Stage { scales: 6, newest: 1.0 });
        let mut since = 0;
        for (before, after) in all.iter().zip(&all[1..]) {
            assert!(after.scales == before.scales || after.scales == before.scales + 1);
            since = if after.scales == before.scales { since + 1 } else { 1 };
            let expected =
                if (3..6).contains(&after.scales) { (f64::from(since) / 8.0).min(1.0) } else { 1.0 };
            assert_eq!(after.newest, expected);
        }
        assert_eq!(all.iter().filter(|stage| stage.newest < 1.0).count(), 3 * 7);
    }

    #[test]
    fn the_published_warm_up_is_a_three_hundredth_and_no_weight_is_below_a_hundredth() {
        let stages = Stages::of(&settings(0.5, 0, 0.0), 60_000, 10).unwrap().unwrap();
        let begun = (1..60_000).find(|&step| stages.at(step).scales == 2).unwrap();
        assert_eq!(stages.at(begun).newest, 0.01);
        assert_eq!(stages.at(begun + 9).newest, 0.05);
        assert_eq!(stages.at(begun + 199).newest, 1.0);
    }

    #[test]
    fn a_share_of_zero_means_all_scales_and_a_first_scale_that_is_none_is_refused() {
        assert!(Stages::of(&settings(0.0, 99, 0.0), 10, 3).unwrap().is_none());
        let message = Stages::of(&settings(0.5, 3, 0.0), 10, 3).unwrap_err().to_string();
        assert!(message.contains("model.progressive_first = 3") && message.contains("0 to 2"), "{message}");
    }
}
