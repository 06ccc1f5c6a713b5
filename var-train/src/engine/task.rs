//! The interface between the loop and a network.

use std::collections::BTreeMap;

use tch::Tensor;
use var_tokenizer::images::Grid;
use var_tokenizer::weights::{Parameters, StateDict};

use crate::average::Average;
use crate::error::Result;
use crate::loss_scale::LossScale;
use crate::records::{Losses, Scores};
use crate::throughput::Cost;

/// A network with its data. The task computes gradients and scores; the loop does the rest.
pub trait Task {
    /// The parameters to train.
    fn parameters(&self) -> &Parameters;

    /// The metadata of a model file.
    ///
    /// # Errors
    /// When the configuration cannot be written as text.
    fn metadata(&self) -> Result<BTreeMap<String, String>>;

    /// Runs forward and backward over the whole batch of `step` (from 0), all micro-batches. Adds up the gradients. With
    /// `detailed` the losses contain the costly numbers.
    ///
    /// # Errors
    /// When libtorch fails.
    fn step(&mut self, step: u64, detailed: bool) -> Result<Losses>;

    /// Runs after the optimizer's step.
    ///
    /// # Errors
    /// When libtorch fails.
    fn after_step(&mut self, _step: u64) -> Result<()> {
        Ok(())
    }

    /// Scores the held-out part after `step` steps.
    ///
    /// # Errors
    /// When libtorch fails.
    fn validate(&mut self, step: u64) -> Result<Scores>;

    /// Images that show what the network does after `step` steps; `None` when it has none.
    ///
    /// # Errors
    /// When libtorch fails.
    fn picture(&mut self, _step: u64) -> Result<Option<Grid>> {
        Ok(None)
    }

    /// More tensors that a resume needs.
    fn extra(&self) -> BTreeMap<String, Tensor> {
        BTreeMap::new()
    }

    /// More numbers that a resume needs.
    fn numbers(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }

    /// Takes back [`Task::extra`] and [`Task::numbers`], after the parameters are loaded.
    ///
    /// # Errors
    /// When something is missing.
    fn restore(
        &mut self,
        _tensors: &BTreeMap<String, Tensor>,
        _numbers: &BTreeMap<String, f64>,
    ) -> Result<()> {
        Ok(())
    }

    /// The moving average of the weights, if the task keeps one. The loop updates, saves and loads it.
    fn average(&mut self) -> Option<&mut Average> {
        None
    }

    /// The factor by which [`Task::step`] multiplies the loss in fp16. The loop divides the gradients by it, and skips
    /// steps whose gradients are not finite.
    fn loss_scale(&mut self) -> Option<&mut LossScale> {
        None
    }

    /// Fills the parameters from a checkpoint.
    ///
    /// # Errors
    /// When the tensors do not fit.
    fn load(&mut self, weights: &StateDict) -> Result<()>;

    /// Images per step and tokens per image, for the rates.
    fn sizes(&self) -> (usize, usize);

    /// The cost of an image, for the rates.
    fn cost(&self) -> Cost;

    /// Seconds that steps have waited for data so far.
    fn waited(&self) -> f64;
}
