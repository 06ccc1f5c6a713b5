//! Scores and images of the held-out part.

use tch::{Device, Kind, Tensor};
use var_tokenizer::images::Grid;
use var_tokenizer::quantizer::usage::perplexity;

use super::{TokenizerTask, alarm};
use crate::error::{Error, Result};
use crate::records::TokenizerScores;

/// Images that are decoded after each scale: enough for a mean, and cheap.
const DECODED_PER_SCALE: usize = 128;
/// Images in the strip.
const SHOWN: usize = 8;

impl TokenizerTask {
    /// Scores the held-out part after `step` steps.
    pub(super) fn score(&mut self, step: u64) -> Result<TokenizerScores> {
        let recipe = &self.settings.recipe;
        let schedule = &self.settings.tokenizer.schedule;
        let vocabulary = self.settings.tokenizer.vocabulary as i64;
        let count = match recipe.validation_pictures {
            0 => self.validation.len(),
            n => n.min(self.validation.len()),
        };
        let quantizing = step > self.quantize_from;
        let hits = Tensor::zeros([schedule.scales() as i64, vocabulary], (Kind::Float, Device::Cpu));
        let (mut psnr, mut l1, mut l2) = (0.0, 0.0, 0.0);
        let (mut per_scale, mut decoded) = (vec![0.0; schedule.scales()], 0);
        let picks: Vec<(usize, u64)> = (0..count).map(|i| (i, 0)).collect();
        for part in picks.chunks(self.settings.training.batch.max(1)) {
            let images = self.validation.centred(part)?.to_device(self.vae.device());
            let reconstructions = tch::no_grad(|| -> Result<Tensor> {
                if !quantizing {
                    return Ok(self.vae.decode_latent(&self.vae.latent(&images)?)?.clamp(-1.0, 1.0));
                }
                let ids = self.vae.encode(&images)?;
                for k in 0..schedule.scales() {
                    let range = schedule.range(k);
                    let part = ids.narrow(1, range.start as i64, range.len() as i64).flatten(0, -1);
                    let mut row = hits.select(0, k as i64);
                    row +=
                        part.bincount::<Tensor>(None, vocabulary).to_kind(Kind::Float).to_device(Device::Cpu);
                }
                let shown = part.len().min(DECODED_PER_SCALE - decoded);
                if shown > 0 {
                    let first = |t: &Tensor| t.narrow(0, 0, shown as i64);
                    let scales = self.vae.decode_scales(&first(&ids))?.unbind(1);
                    for (sum, reconstruction) in per_scale.iter_mut().zip(&scales) {
                        *sum += decibels(&squares(&(reconstruction - first(&images))));
                    }
                    decoded += shown;
                }
                Ok(self.vae.decode(&ids)?)
            })?;
            let off = reconstructions - &images;
            let squares = squares(&off);
            psnr += decibels(&squares);
            l2 += squares.sum(Kind::Double).double_value(&[]);
            l1 += off
                .abs()
                .mean_dim([1_i64, 2, 3].as_slice(), false, Kind::Double)
                .sum(Kind::Double)
                .double_value(&[]);
        }
        let n = count as f64;
        let mut scores =
            TokenizerScores { psnr: psnr / n, l1: l1 / n, l2: l2 / n, ..TokenizerScores::default() };
        if quantizing {
            scores.psnr_per_scale = Some(per_scale.iter().map(|sum| sum / decoded as f64).collect());
            self.score_codes(&hits, count, &mut scores);
        }
        Ok(scores)
    }

    /// The scores of the codes that `count` held-out images use, from their hits `[K, V]`.
    fn score_codes(&self, hits: &Tensor, count: usize, scores: &mut TokenizerScores) {
        let (schedule, recipe) = (&self.settings.tokenizer.schedule, &self.settings.recipe);
        let vocabulary = self.settings.tokenizer.vocabulary as f64;
        let used = |t: &Tensor| t.gt(0.0).to_kind(Kind::Double).sum(Kind::Double).double_value(&[]);
        let total = hits.sum_dim_intlist([0_i64].as_slice(), false, Kind::Float);
        let rows = hits.unbind(0);
        let by_scale: Vec<f64> = rows.iter().map(used).collect();
        let collapsed: Vec<usize> = by_scale
            .iter()
            .enumerate()
            .filter(|(k, codes)| {
                let possible = (count * schedule.range(*k).len()) as f64;
                **codes < (recipe.collapse * vocabulary).max(2.0).min(possible)
            })
            .map(|(k, _)| schedule.side(k))
            .collect();
        scores.codes_used = Some(used(&total));
        scores.perplexity = Some(perplexity(&total));
        scores.codes_per_scale = Some(by_scale);
        scores.perplexity_per_scale = Some(rows.iter().map(perplexity).collect());
        scores.alarm = alarm(&collapsed);
    }

    /// The first held-out images: per row the original, and the reconstruction after each scale; before quantization the
    /// reconstruction alone.
    pub(super) fn strip(&mut self, step: u64) -> Result<Grid> {
        let picks: Vec<(usize, u64)> = (0..SHOWN.min(self.validation.len())).map(|i| (i, 0)).collect();
        let images = self.validation.centred(&picks)?.to_device(self.vae.device());
        let reconstructions = tch::no_grad(|| -> Result<Tensor> {
            if step > self.quantize_from {
                return Ok(self.vae.decode_scales(&self.vae.encode(&images)?)?);
            }
            Ok(self.vae.decode_latent(&self.vae.latent(&images)?)?.clamp(-1.0, 1.0).unsqueeze(1))
        })?;
        let all = Tensor::f_cat(&[images.unsqueeze(1), reconstructions], 1)?;
        let columns = all.size().get(1).copied().unwrap_or(1) as usize;
        let side = self.settings.tokenizer.image_side();
        let pixels = all.flatten(0, -1).to_device(Device::Cpu).to_kind(Kind::Float);
        let pixels = Vec::<f32>::try_from(&pixels).map_err(|e| Error::config(e.to_string()))?;
        Ok(Grid::of_pixels(&pixels, side, columns)?)
    }
}

/// The mean square of each image of `off` `[B, 3, S, S]`: `[B]` in f64.
fn squares(off: &Tensor) -> Tensor {
    off.square().mean_dim([1_i64, 2, 3].as_slice(), false, Kind::Double)
}

/// The sum of the PSNR of images with these mean squared errors, for pixels in [-1, 1].
fn decibels(squares: &Tensor) -> f64 {
    ((squares.clamp_min(1e-12).reciprocal() * 4.0).log10() * 10.0).sum(Kind::Double).double_value(&[])
}
