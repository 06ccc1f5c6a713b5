//! Samples the images of a call, batch by batch, into the outputs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;
use tch::Tensor;
use var_tokenizer::images::from_tensor;
use var_tokenizer::progress::Progress;

use super::job::Job;
use crate::error::{Error, Result};
use crate::outputs::scales::Scales;
use crate::outputs::{Candidate, Outputs, Picture};
use crate::rejection::{Best, Classifier};
use crate::sampling::{Draws, Sample, Sampler};

pub(super) struct Work<'a> {
    job: &'a Job,
    sampler: &'a Sampler<'a>,
    outputs: Outputs,
    scales: Scales,
    stop: Arc<AtomicBool>,
    progress: &'a mut Progress,
    /// Images that were sampled before this call, rejected ones included.
    before: usize,
    /// Images that this call sampled.
    sampled: usize,
    began: Instant,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        job: &'a Job,
        sampler: &'a Sampler<'a>,
        outputs: Outputs,
        stop: Arc<AtomicBool>,
        progress: &'a mut Progress,
    ) -> Self {
        let shown = if job.request.show_scales.is_empty() { 0 } else { job.plan.pictures() };
        // With rejection, `done` is a number of complete classes. Without it, a class has as many candidates as images.
        let done = outputs.done();
        let before = done / job.plan.per_class * job.candidates + done % job.plan.per_class;
        Self {
            job,
            sampler,
            outputs,
            scales: Scales::new(shown),
            stop,
            progress,
            before,
            sampled: 0,
            began: Instant::now(),
        }
    }

    /// Samples the missing images and completes the outputs. Returns the number of sampled images, and seconds.
    pub(super) fn run(mut self, classifier: Option<&Classifier>) -> Result<(usize, f64)> {
        let total = self.job.plan.pictures();
        if self.outputs.done() > 0 {
            self.progress.note(&format!("resuming after {} of {total} images", self.outputs.done()));
        }
        self.progress.start(self.before as u64, self.job.sampled() as u64);
        while self.outputs.done() < total {
            match classifier {
                Some(classifier) => self.best_of_class(classifier)?,
                None => self.batch()?,
            }
        }
        self.show_scales()?;
        self.progress.finish();
        let seconds = self.began.elapsed().as_secs_f64();
        self.outputs.finish()?;
        Ok((self.sampled, seconds))
    }

    /// Samples the next batch into the outputs.
    fn batch(&mut self) -> Result<()> {
        let first = self.outputs.done();
        let count = self.job.at_once.min(self.job.plan.pictures() - first);
        let sample = self.next(first, count)?;
        self.scales.take(first, &sample.latents, self.sampler)?;
        let pictures = from_tensor(&sample.images)?;
        let pictures: Vec<Picture> =
            pictures.into_iter().map(|image| Picture { image, candidate: None }).collect();
        self.outputs.add(&pictures)
    }

    /// Samples the candidates of the next class, and puts the best into the outputs.
    fn best_of_class(&mut self, classifier: &Classifier) -> Result<()> {
        let (candidates, plan) = (self.job.candidates, &self.job.plan);
        let class = self.outputs.done() / plan.per_class;
        let label = plan.labels.get(class).copied().unwrap_or(0);
        let mut best = Best::new(plan.per_class);
        let end = (class + 1) * candidates;
        let mut first = class * candidates;
        while first < end {
            let count = self.job.at_once.min(end - first);
            let sample = self.next(first, count)?;
            let probabilities = classifier.probabilities(&sample.images, label)?;
            let numbered = probabilities.into_iter().zip(first as u64..);
            let pictures = from_tensor(&sample.images)?;
            best.offer(
                numbered.zip(pictures).map(|((probability, number), image)| (probability, number, image)),
            );
            first += count;
        }
        let pictures: Vec<Picture> = best
            .finish()
            .into_iter()
            .map(|(probability, number, image)| Picture {
                image,
                candidate: Some(Candidate { number, probability }),
            })
            .collect();
        self.outputs.add(&pictures)
    }

    /// Samples images `first` to `first + count`, and shows progress.
    fn next(&mut self, first: usize, count: usize) -> Result<Sample> {
        self.heed_signals()?;
        let numbers: Vec<u64> = (first as u64..(first + count) as u64).collect();
        let sample = self.sample(&numbers)?;
        self.sampled += count;
        let rate = self.sampled as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
        self.progress.advance_with(
            (self.before + self.sampled) as u64,
            &format!("{rate:.1} images/s"),
            &json!({"images_per_second": rate}),
        );
        Ok(sample)
    }

    /// The images with these numbers among all candidates.
    fn sample(&self, numbers: &[u64]) -> Result<Sample> {
        let label = |&number: &u64| {
            self.job.plan.labels.get(number as usize / self.job.candidates).copied().unwrap_or(0)
        };
        let labels: Vec<i64> = numbers.iter().map(label).collect();
        let request = &self.job.request;
        self.sampler.sample(&labels, &Draws::new(request.seed, numbers.to_vec()), &request.options)
    }

    /// Writes the first images after each scale. Samples images again that an earlier call made, or that the classifier
    /// chose after they were sampled.
    fn show_scales(&mut self) -> Result<()> {
        while !self.scales.missing().is_empty() {
            self.heed_signals()?;
            let missing = self.scales.missing();
            let numbers: Vec<u64> = self
                .outputs
                .first()
                .get(missing.clone())
                .unwrap_or_default()
                .iter()
                .take(self.job.at_once)
                .copied()
                .collect();
            if numbers.is_empty() {
                break;
            }
            let latents: Vec<Tensor> = self.sample(&numbers)?.latents;
            self.scales.take(missing.start, &latents, self.sampler)?;
        }
        self.job.request.show_scales.iter().try_for_each(|file| self.scales.write(file))
    }

    /// After a signal: saves, and returns the error that ends the call.
    fn heed_signals(&mut self) -> Result<()> {
        if !self.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.progress.finish();
        let (done, total) = (self.outputs.done(), self.job.plan.pictures());
        let advice = if self.outputs.sync()? {
            format!("{done} of {total} images are saved; run the same command with --resume to continue")
        } else if done == 0 {
            "no image is finished, and nothing is written; run the same command to start again".to_owned()
        } else {
            format!(
                "{done} of {total} images were sampled, but a grid does not save them; add a folder or an .npz with \
                 --out to make --resume possible"
            )
        };
        Err(Error::Interrupted(advice))
    }
}
