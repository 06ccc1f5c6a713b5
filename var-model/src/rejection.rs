//! Rejection sampling: keeps the candidates that a classifier is most confident about, per class.
//!
//! The classifier is a TorchScript module that gives logits `[B, classes]` for images `[B, 3, s, s]`.

use std::path::{Path, PathBuf};

use tch::{CModule, Device, Kind, Tensor};
use var_tokenizer::torch::check_finite;
use var_tokenizer::torch::module::{load_module, module_error};

use crate::error::{Error, Result};

/// Side of ImageNet's usual classifiers.
pub const SIZE: usize = 224;
/// Largest side that images may be resized to.
pub const MOST_SIZE: usize = 4096;

/// Settings of rejection sampling.
#[derive(Debug, Clone)]
pub struct RejectionRequest {
    /// Share of the candidates to keep, above 0 and at most 1.
    pub keep: f64,
    /// TorchScript file of the classifier.
    pub classifier: PathBuf,
    /// Side in pixels that images are resized to.
    pub size: usize,
    /// Mean of each channel of images in [0, 1].
    pub mean: [f64; 3],
    /// Standard deviation of each channel.
    pub deviation: [f64; 3],
}

impl RejectionRequest {
    /// Checks the ranges.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub(crate) fn validate(&self) -> Result<()> {
        if !(self.keep > 0.0 && self.keep <= 1.0) {
            return Err(Error::Config(format!(
                "share to keep is {}; it must be above 0 and at most 1",
                self.keep
            )));
        }
        if !(1..=MOST_SIZE).contains(&self.size) {
            return Err(Error::Config(format!(
                "side of the images for the classifier is {}; it must be from 1 to {MOST_SIZE}",
                self.size
            )));
        }
        if !self.mean.iter().all(|m| m.is_finite()) {
            return Err(Error::Config(
                "mean of the channels for the classifier must be three numbers".into(),
            ));
        }
        if !self.deviation.iter().all(|d| d.is_finite() && *d > 0.0) {
            return Err(Error::Config(
                "standard deviation of the channels for the classifier must be three numbers above 0".into(),
            ));
        }
        Ok(())
    }

    /// Number of candidates to sample per class so that `kept` remain.
    pub(crate) fn candidates(&self, kept: usize) -> usize {
        // Slightly less, so that rounding does not add one: 6 / 0.06 is 100.
        ((kept as f64 / self.keep) * (1.0 - 1e-12)).ceil() as usize
    }
}

/// A loaded classifier.
#[derive(Debug)]
pub(crate) struct Classifier {
    module: CModule,
    path: PathBuf,
    size: i64,
    mean: Tensor,
    deviation: Tensor,
    classes: usize,
}

impl Classifier {
    /// Loads the module, and runs it on one grey image.
    ///
    /// # Errors
    /// When the file is missing or is not TorchScript, or the module does not give `classes` logits per image.
    pub(crate) fn load(request: &RejectionRequest, classes: usize, device: Device) -> Result<Self> {
        let path = &request.classifier;
        let (module, _) = load_module(path, device)?;
        let row = |values: [f64; 3]| {
            Tensor::from_slice(&values).to_kind(Kind::Float).view([1, 3, 1, 1]).to_device(device)
        };
        let classifier = Self {
            module,
            path: path.clone(),
            size: request.size as i64,
            mean: row(request.mean),
            deviation: row(request.deviation),
            classes,
        };
        let grey = Tensor::zeros([1, 3, request.size as i64, request.size as i64], (Kind::Float, device));
        classifier.probabilities(&grey, 0)?;
        Ok(classifier)
    }

    /// The probability of class `label` for each of the images `[B, 3, S, S]` in [-1, 1]: the softmax of
    /// the module's logits for images in [0, 1], resized (bicubic, antialiased) and normalised.
    ///
    /// # Errors
    /// When the module fails, or its output is not `[B, classes]` or not finite.
    pub(crate) fn probabilities(&self, images: &Tensor, label: i64) -> Result<Vec<f64>> {
        let logits = tch::no_grad(|| {
            let unit = (images.to_kind(Kind::Float) + 1.0) * 0.5;
            let resized = if unit.size().ends_with(&[self.size, self.size]) {
                unit
            } else {
                unit.f_internal_upsample_bicubic2d_aa([self.size, self.size], false, None, None)?
            };
            let normal = (resized - &self.mean) / &self.deviation;
            self.module.forward_ts(&[normal])
        })
        .map_err(|e| wrong(&self.path, &format!("the classifier fails: {}", module_error(&e))))?;
        let expected = [images.size().first().copied().unwrap_or(0), self.classes as i64];
        if logits.size() != expected {
            return Err(wrong(
                &self.path,
                &format!(
                    "gives logits {:?} for {} images, expected {expected:?}: a classifier of the model's {} classes",
                    logits.size(),
                    expected.first().copied().unwrap_or(0),
                    self.classes
                ),
            ));
        }
        let chosen = logits.to_kind(Kind::Double).softmax(-1, None).select(1, label).to_device(Device::Cpu);
        check_finite(&chosen, || format!("{}: probabilities of class {label}", self.path.display()))?;
        Vec::<f64>::try_from(chosen.contiguous()).map_err(Error::from)
    }
}

fn wrong(path: &Path, why: &str) -> Error {
    Error::file(path, why)
}

/// The best candidates of one class so far; holds no more than will be kept.
#[derive(Debug)]
pub(crate) struct Best<T> {
    room: usize,
    held: Vec<(f64, u64, T)>,
}

impl<T> Best<T> {
    /// Room for `room` candidates.
    pub(crate) fn new(room: usize) -> Self {
        Self { room, held: Vec::new() }
    }

    /// Adds candidates with their probabilities and numbers. Of equal ones, the smaller number is kept.
    pub(crate) fn offer(&mut self, candidates: impl IntoIterator<Item = (f64, u64, T)>) {
        self.held.extend(candidates);
        self.held.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.held.truncate(self.room);
    }

    /// The best candidates, sorted by number: probability, number, candidate.
    pub(crate) fn finish(mut self) -> Vec<(f64, u64, T)> {
        self.held.sort_by_key(|held| held.1);
        self.held
    }
}

#[cfg(test)]
mod tests {
    use var_tokenizer::torch::module::{IMAGENET_DEVIATION, IMAGENET_MEAN};

    use super::*;

    fn request(keep: f64) -> RejectionRequest {
        RejectionRequest {
            keep,
            classifier: "x".into(),
            size: SIZE,
            mean: IMAGENET_MEAN,
            deviation: IMAGENET_DEVIATION,
        }
    }

    #[test]
    fn candidates_are_counted_up_to_the_next_whole_number() {
        for (keep, kept, candidates) in
            [(1.0, 5, 5), (0.5, 5, 10), (0.3, 3, 10), (0.06, 6, 100), (0.7, 5, 8), (0.1, 7, 70)]
        {
            assert_eq!(request(keep).candidates(kept), candidates, "{keep} {kept}");
        }
    }

    #[test]
    fn a_share_that_is_none_is_refused() {
        for keep in [0.0, -0.5, 1.5, f64::NAN] {
            assert!(request(keep).validate().is_err(), "{keep}");
        }
        assert!(request(1.0).validate().is_ok());
        assert!(RejectionRequest { deviation: [1.0, 0.0, 1.0], ..request(1.0) }.validate().is_err());
    }

    #[test]
    fn the_best_stay_in_the_order_of_their_numbers_however_they_are_offered() {
        let all = [(0.1, 0), (0.9, 1), (0.5, 2), (0.5, 3), (0.0, 4), (0.7, 5)];
        for part in 1..=all.len() {
            let mut best = Best::new(3);
            for chunk in all.chunks(part) {
                best.offer(chunk.iter().map(|&(p, n)| (p, n, n)));
            }
            let numbers: Vec<u64> = best.finish().into_iter().map(|held| held.2).collect();
            assert_eq!(numbers, [1, 2, 5]);
        }
    }
}
