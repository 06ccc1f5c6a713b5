//! Sums of losses and errors by position, and their means over all scales, the last scale, and each scale.

use tch::{Kind, Tensor};
use var_tokenizer::ScaleSchedule;

use crate::distributed::Ranks;
use crate::error::Result;
use crate::records::ModelScores;

/// Sums over token positions.
#[derive(Debug)]
pub(crate) struct Sums {
    schedule: ScaleSchedule,
    /// Sums of this rank, `[2, L]` in f64 on the device: reading them waits for it.
    own: Option<Tensor>,
    loss: Vec<f64>,
    errors: Vec<f64>,
    pictures: f64,
}

impl Sums {
    /// Empty sums for `schedule`.
    pub(crate) fn new(schedule: &ScaleSchedule) -> Self {
        let zeros = vec![0.0; schedule.tokens()];
        Self { schedule: schedule.clone(), own: None, loss: zeros.clone(), errors: zeros, pictures: 0.0 }
    }

    /// Adds the cross-entropy and the errors (0 or 1) of a batch, `[B, L]` each.
    ///
    /// # Errors
    /// When their shapes differ.
    pub(crate) fn add(&mut self, entropy: &Tensor, errors: &Tensor) -> Result<()> {
        let both = Tensor::f_stack(&[entropy.detach(), errors.detach()], 0)?;
        let sums = both.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Double)?;
        self.own = Some(match self.own.take() {
            Some(before) => before.f_add(&sums)?,
            None => sums,
        });
        self.pictures += entropy.size().first().copied().unwrap_or(0) as f64;
        Ok(())
    }

    /// Takes the sums of all ranks together. Then all ranks hold the same sums, which the means are made of.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn join(&mut self, ranks: Ranks) -> Result<()> {
        if let Some(own) = self.own.take() {
            let own = own.to_device(tch::Device::Cpu);
            for (total, sums) in [(&mut self.loss, own.f_get(0)?), (&mut self.errors, own.f_get(1)?)] {
                let sums = Vec::<f64>::try_from(sums)?;
                total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
            }
        }
        let mut all = [&self.loss[..], &self.errors[..], &[self.pictures]].concat();
        ranks.sum(&mut all)?;
        let tokens = self.loss.len();
        let (loss, rest) = all.split_at(tokens.min(all.len()));
        let (errors, pictures) = rest.split_at(tokens.min(rest.len()));
        (self.loss, self.errors) = (loss.to_vec(), errors.to_vec());
        self.pictures = pictures.first().copied().unwrap_or(0.0);
        Ok(())
    }

    fn mean(&self, sums: &[f64], range: std::ops::Range<usize>) -> f64 {
        let count = range.len() as f64 * self.pictures;
        sums.get(range).map_or(f64::NAN, |part| part.iter().sum::<f64>() / count)
    }

    /// Mean cross-entropy over all tokens, in nats.
    pub(crate) fn loss_all(&self) -> f64 {
        self.mean(&self.loss, 0..self.schedule.tokens())
    }

    /// Mean over the images of the cross-entropy with a weight per token.
    pub(crate) fn weighted(&self, weights: &[f64]) -> f64 {
        let sum: f64 = self.loss.iter().zip(weights).map(|(loss, weight)| loss * weight).sum();
        sum / self.pictures
    }

    /// The means over all tokens, over the last scale, and per scale.
    pub(crate) fn scores(&self) -> ModelScores {
        let scales = self.schedule.scales();
        let (all, last) = (0..self.schedule.tokens(), self.schedule.range(scales - 1));
        let per_scale = |sums: &[f64]| (0..scales).map(|k| self.mean(sums, self.schedule.range(k))).collect();
        ModelScores {
            loss_all: self.loss_all(),
            loss_last: self.mean(&self.loss, last.clone()),
            err_all: self.mean(&self.errors, all),
            err_last: self.mean(&self.errors, last),
            loss_per_scale: per_scale(&self.loss),
            err_per_scale: per_scale(&self.errors),
            average: None,
        }
    }
}
