//! The adversary: the discriminator with its optimizer, its regularisers and its state.

use std::collections::BTreeMap;

use tch::{Device, Kind, Tensor};
use var_tokenizer::random::Stream;
use var_tokenizer::torch::check_finite;

use super::augment::{CUTOUT, STRONG_CUTOUT, augment, blur, draws};
use super::discriminator::{Discriminator, Frozen, Statistics};
use super::losses::LeCam;
use crate::distributed::Ranks;
use crate::error::{Error, Result};
use crate::optimizer::{Optimizer, Update};
use crate::settings::{AdversaryTraining, Training};

/// Start of the names of its tensors in a checkpoint.
const PREFIX: &str = "adversary.";
/// Decay of the first moment of its optimizer, as in all published trainers.
const BETA1: f64 = 0.5;
/// Decay of the second moment.
const BETA2: f64 = 0.9;

/// Share of the averages for the alarms that stays per step.
const SLOW: f64 = 0.95;
/// Steps before they can raise an alarm.
const SETTLED: u64 = 50;
/// A discriminator that is right on more of both kinds than this wins.
const WINS: f64 = 0.95;
/// A discriminator whose mean logits differ by less than this learns nothing.
const DEAD: f64 = 0.02;

/// The images that are judged at a step, by their places in the order of the run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged<'a> {
    /// The step.
    pub step: u64,
    /// The place of each image in the batch.
    pub places: &'a [u64],
    /// Their share of this rank's part of the batch.
    pub share: f64,
    /// Width of the blur over all that the discriminator sees, 1 to 0; see [`blur`].
    pub blur: f64,
}

/// What the discriminator made of a batch, or the share of a micro-batch in it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Verdict {
    /// Its loss, regularisers included.
    pub loss: f64,
    /// Mean logit of real images.
    pub real_logit: f64,
    /// Mean logit of reconstructions.
    pub fake_logit: f64,
    /// Share of the logits of real images above 0.
    pub real_right: f64,
    /// Share of the logits of reconstructions below 0.
    pub fake_right: f64,
}

impl Verdict {
    /// Averages the verdict over all ranks.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn join(&mut self, ranks: Ranks) -> Result<()> {
        let Self { loss, real_logit, fake_logit, real_right, fake_right } = self;
        ranks.average([loss, real_logit, fake_logit, real_right, fake_right])
    }

    /// Adds the verdict on a micro-batch that is `share` of the batch.
    pub(crate) fn add(&mut self, other: &Self, share: f64) {
        self.loss += other.loss * share;
        self.real_logit += other.real_logit * share;
        self.fake_logit += other.fake_logit * share;
        self.real_right += other.real_right * share;
        self.fake_right += other.fake_right * share;
    }
}

/// Moving averages of the verdicts, for alarms.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Watch {
    steps: u64,
    real_right: f64,
    fake_right: f64,
    /// Mean logit of real images less that of reconstructions.
    apart: f64,
}

impl Watch {
    fn update(&mut self, verdict: &Verdict) {
        let keep = if self.steps == 0 { 0.0 } else { SLOW };
        self.steps += 1;
        let mix = |old: f64, new: f64| old * keep + new * (1.0 - keep);
        self.real_right = mix(self.real_right, verdict.real_right);
        self.fake_right = mix(self.fake_right, verdict.fake_right);
        self.apart = mix(self.apart, verdict.real_logit - verdict.fake_logit);
    }

    /// A warning about a discriminator that wins or learns nothing.
    fn alarm(&self) -> Option<String> {
        let percent = |share: f64| (share * 100.0).round();
        if self.steps < SETTLED {
            None
        } else if self.real_right > WINS && self.fake_right > WINS {
            Some(format!(
                "the discriminator wins: it is right on {}% of real images and {}% of reconstructions; set \
                 adversary.spectral_norm, adversary.joint_batch and adversary.augment to true, or lower adversary.rate",
                percent(self.real_right),
                percent(self.fake_right)
            ))
        } else if self.apart.abs() < DEAD {
            Some(format!(
                "the discriminator learns nothing: its mean logits of real images and reconstructions differ by {:.3}; \
                 raise adversary.rate or adversary.width, or start it later",
                self.apart.abs()
            ))
        } else {
            None
        }
    }
}

/// The discriminator in training.
#[derive(Debug)]
pub(crate) struct Adversary {
    settings: AdversaryTraining,
    discriminator: Discriminator,
    optimizer: Optimizer,
    lecam: LeCam,
    watch: Watch,
    seed: u64,
    ranks: Ranks,
}

impl Adversary {
    /// A discriminator on `device`, initialised from the seed of the run.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn new(settings: &AdversaryTraining, training: &Training, device: Device) -> Result<Self> {
        let discriminator = Discriminator::new(settings.shape(), device, Some(training.seed))?;
        Ok(Self::of(settings, discriminator, training.seed, training.clip))
    }

    /// An adversary with this discriminator; `clip` is the largest norm of its gradient, 0 does not clip.
    pub(crate) fn of(
        settings: &AdversaryTraining,
        discriminator: Discriminator,
        seed: u64,
        clip: f64,
    ) -> Self {
        discriminator.parameters().set_requires_grad(true);
        let optimizer = Optimizer::new(discriminator.parameters(), BETA1, BETA2, 1e-8, clip);
        let lecam = LeCam::new(settings.lecam_decay);
        Self {
            settings: settings.clone(),
            discriminator,
            optimizer,
            lecam,
            watch: Watch::default(),
            seed,
            ranks: Ranks::ALONE,
        }
    }

    /// Judges the part of this rank in every batch, and averages the gradients of all ranks.
    pub(crate) fn among(&mut self, ranks: Ranks) {
        self.ranks = ranks;
        self.discriminator.among(ranks);
    }

    /// The discriminator.
    pub(crate) fn discriminator(&self) -> &Discriminator {
        &self.discriminator
    }

    /// What the discriminator sees of `images`, which are `copies` batches of the judged images, one after the other:
    /// blurred, then augmented with a hole of `cutout`, by the draws called `purpose`.
    fn seen(
        &self,
        images: &Tensor,
        judged: Judged<'_>,
        (purpose, copies, cutout): (&str, u64, f64),
    ) -> Result<Tensor> {
        let images = blur(images, judged.blur)?;
        if !self.settings.augment {
            return Ok(images);
        }
        let stream = Stream::new(purpose, self.seed).at(judged.step);
        let places =
            (0..copies).flat_map(|copy| judged.places.iter().map(move |place| place * copies + copy));
        augment(&images, &draws(&stream, places), cutout)
    }

    /// The generator's loss on `reconstructions` `[B, 3, S, S]`, a scalar. No gradient reaches the discriminator.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn generator(&self, reconstructions: &Tensor, judged: Judged<'_>) -> Result<Tensor> {
        let _frozen = Frozen::new(self.discriminator.parameters());
        let statistics =
            if self.settings.running_statistics { Statistics::Running } else { Statistics::Batch };
        let seen = self.seen(reconstructions, judged, ("augment-generator", 1, CUTOUT))?;
        let logits = self.discriminator.forward(&seen, statistics)?;
        self.check(&logits)?;
        self.settings.loss.generator(&logits)
    }

    /// Judges real `images` and `reconstructions`, both `[B, 3, S, S]`, and adds the gradients of its loss.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn judge(
        &mut self,
        images: &Tensor,
        reconstructions: &Tensor,
        judged: Judged<'_>,
    ) -> Result<Verdict> {
        let all = Tensor::f_cat(&[images, &reconstructions.f_detach()?], 0)?;
        let [real, fake] = self.logits(&self.seen(&all, judged, ("augment-discriminator", 2, CUTOUT))?)?;
        let mut loss = self.settings.loss.discriminator(&real, &fake)?;
        let mean = |t: &Tensor| -> Result<f64> { Ok(t.f_mean(Kind::Float)?.f_double_value(&[])?) };
        let (mut real_logit, mut fake_logit) = (mean(&real)?, mean(&fake)?);
        self.ranks.average([&mut real_logit, &mut fake_logit])?;
        if self.settings.lecam > 0.0 {
            self.lecam.update(real_logit, fake_logit);
            loss = loss + self.lecam.penalty(&real, &fake)? * self.settings.lecam;
        }
        if self.settings.consistency > 0.0 {
            let strong = self.seen(&all, judged, ("augment-strongly", 2, STRONG_CUTOUT))?;
            let [strong_real, strong_fake] = self.logits(&strong)?;
            let apart = |a: &Tensor, b: &Tensor| a.f_mse_loss(b, tch::Reduction::Mean);
            let both = (apart(&strong_real, &real)? + apart(&strong_fake, &fake)?) * 0.5;
            loss = loss + both * self.settings.consistency;
        }
        // Its gradients are averaged later: before the optimizer's step.
        self.ranks.backward(&(&loss * judged.share), false)?;
        let right = |t: Tensor| mean(&t.to_kind(Kind::Float));
        Ok(Verdict {
            loss: loss.f_double_value(&[])?,
            real_logit,
            fake_logit,
            real_right: right(real.f_gt(0.0)?)?,
            fake_right: right(fake.f_lt(0.0)?)?,
        })
    }

    /// Fails if a logit is not finite, and names the tensor of the discriminator that is not.
    fn check(&self, logits: &Tensor) -> Result<()> {
        let Err(error) = check_finite(logits, || "the logits of the discriminator".into()) else {
            return Ok(());
        };
        for entry in self.discriminator.parameters().entries() {
            check_finite(&entry.tensor, || format!("{} of the discriminator", entry.name))?;
        }
        Err(error.into())
    }

    /// The logits of the first and of the second half of `images`.
    fn logits(&self, images: &Tensor) -> Result<[Tensor; 2]> {
        let half = images.size().first().copied().unwrap_or(0) / 2;
        let part = |t: &Tensor, i: i64| t.f_narrow(0, i * half, half);
        let judge = |t: &Tensor| self.discriminator.forward(t, Statistics::Batch);
        if self.settings.joint_batch {
            let all = judge(images)?;
            return Ok([part(&all, 0)?, part(&all, 1)?]);
        }
        Ok([judge(&part(images, 0)?)?, judge(&part(images, 1)?)?])
    }

    /// A warning about a discriminator that wins or learns nothing.
    pub(crate) fn alarm(&self) -> Option<String> {
        self.watch.alarm()
    }

    /// The optimizer's step after the `verdict` on a batch. Gives the norm of the gradient before clipping.
    ///
    /// # Errors
    /// [`Error::Diverged`] when a value is not finite.
    pub(crate) fn step(&mut self, learning_rate: f64, verdict: &Verdict) -> Result<f64> {
        self.watch.update(verdict);
        let gradients: Vec<Tensor> =
            self.discriminator.parameters().trainable().map(|p| p.tensor.grad()).collect();
        self.ranks.average_tensors(&gradients)?;
        let norm = self.optimizer.step(learning_rate * self.settings.rate, 0.0).map_err(|e| match e {
            e if e.is_not_finite() => Error::Diverged(format!("discriminator: {e}")),
            e => e,
        })?;
        self.discriminator.iterate()?;
        Ok(norm)
    }

    /// Everything that a resume needs, as tensors that share their memory with the state.
    pub(crate) fn tensors(&self) -> BTreeMap<String, Tensor> {
        let entries = self.discriminator.parameters().entries().iter();
        let parameters = entries.map(|entry| (format!("{PREFIX}{}", entry.name), entry.tensor.detach()));
        let moments = self.optimizer.state().into_iter().map(|(name, t)| (format!("{PREFIX}{name}"), t));
        parameters.chain(moments).collect()
    }

    /// The numbers that a resume needs.
    pub(crate) fn numbers(&self) -> [(String, f64); 6] {
        let Watch { steps, real_right, fake_right, apart } = self.watch;
        [
            ("lecam_real", self.lecam.real),
            ("lecam_fake", self.lecam.fake),
            ("watch_steps", steps as f64),
            ("watch_real_right", real_right),
            ("watch_fake_right", fake_right),
            ("watch_apart", apart),
        ]
        .map(|(name, value)| (format!("{PREFIX}{name}"), value))
    }

    /// Takes back tensors and numbers of a checkpoint.
    ///
    /// # Errors
    /// When something is missing or has another shape.
    pub(crate) fn restore(
        &mut self,
        tensors: &BTreeMap<String, Tensor>,
        numbers: &BTreeMap<String, f64>,
    ) -> Result<()> {
        for (name, own) in self.tensors() {
            let found = tensors.get(&name).filter(|found| found.size() == own.size());
            let found = found.ok_or_else(|| {
                Error::config(format!("the checkpoint has no fitting tensor {name} of the discriminator"))
            })?;
            tch::no_grad(|| own.shallow_clone().f_copy_(found))?;
        }
        let number = |key: &str| numbers.get(&format!("{PREFIX}{key}")).copied().unwrap_or(0.0);
        (self.lecam.real, self.lecam.fake) = (number("lecam_real"), number("lecam_fake"));
        self.watch = Watch {
            steps: number("watch_steps") as u64,
            real_right: number("watch_real_right"),
            fake_right: number("watch_fake_right"),
            apart: number("watch_apart"),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alarm_after(steps: usize, verdict: Verdict) -> Option<String> {
        let mut watch = Watch::default();
        (0..steps).for_each(|_| watch.update(&verdict));
        watch.alarm()
    }

    #[test]
    fn a_discriminator_that_wins_or_learns_nothing_raises_an_alarm_and_another_does_not() {
        let wins =
            Verdict { real_right: 0.99, fake_right: 0.98, real_logit: 3.0, fake_logit: -3.0, loss: 0.0 };
        let dead =
            Verdict { real_right: 0.6, fake_right: 0.4, real_logit: 0.01, fake_logit: 0.005, loss: 1.0 };
        let fair = Verdict { real_right: 0.7, fake_right: 0.8, real_logit: 0.4, fake_logit: -0.5, loss: 0.7 };
        assert!(alarm_after(60, wins).unwrap().contains("wins: it is right on 99%"));
        assert!(alarm_after(60, dead).unwrap().contains("learns nothing"));
        assert_eq!(alarm_after(60, fair), None);
        assert_eq!(alarm_after(10, wins), None);
    }

    #[test]
    fn a_discriminator_that_is_not_finite_is_an_error_that_names_the_tensor() {
        let settings = AdversaryTraining { layers: 1, width: 4, ..AdversaryTraining::default() };
        let adversary = Adversary::new(&settings, &Training::default(), Device::Cpu).unwrap();
        let mut weight = adversary.discriminator().parameters().get("main.2.weight").unwrap().detach();
        let _ = weight.fill_(f64::NAN);
        let images = Tensor::zeros([2, 3, 16, 16], (Kind::Float, Device::Cpu));
        let judged = Judged { step: 0, places: &[0, 1], share: 1.0, blur: 0.0 };
        let error = adversary.generator(&images, judged).unwrap_err();
        // The loop adds the last good checkpoint to errors of this kind.
        assert!(error.is_not_finite());
        assert!(error.to_string().contains("main.2.weight of the discriminator"), "{error}");
    }
}
