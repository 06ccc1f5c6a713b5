//! The residual pass over all scales: latent → ids, ids → latent, and what stands between.

use tch::{Kind, Reduction, Tensor};

use super::{Codebook, Phi, ScaleDropout};
use crate::data::schedule::ScaleSchedule;
use crate::runtime::error::{Error, Result};
use crate::runtime::weights::Builder;
use crate::vqvae::config::TokenizerConfig;

/// Codebook, φ and schedule together.
#[derive(Debug)]
pub struct Quantizer {
    codebook: Codebook,
    phi: Phi,
    schedule: ScaleSchedule,
    commitment: f64,
}

/// What the quantizer gives in training.
#[derive(Debug)]
pub struct TrainingPass {
    /// Quantized latent `[B, z, h, w]`, with the straight-through gradient.
    pub latent: Tensor,
    /// Mean over scales of commitment and codebook terms, a scalar.
    pub loss: Tensor,
    /// Ids per scale, each `[B, s²]`.
    pub ids: Vec<Tensor>,
    /// The vectors that were looked up per scale, each `[B·s², z]`, detached.
    pub rows: Vec<Tensor>,
}

impl Quantizer {
    /// Builds it under the names of the released checkpoint.
    pub fn new(mut b: Builder<'_>, config: &TokenizerConfig) -> Self {
        let scales = config.schedule.scales();
        let _ = b.buffer("ema_vocab_hit_SV", &[scales as i64, config.vocabulary as i64], 0.0);
        let phi = Phi::new(b.sub_here(), config.phi, scales, config.latent_channels, config.phi_ratio);
        let codebook = Codebook::new(b, config.vocabulary, config.latent_channels, config.z_norm);
        Self { codebook, phi, schedule: config.schedule.clone(), commitment: config.commitment }
    }

    /// The codebook.
    pub fn codebook(&self) -> &Codebook {
        &self.codebook
    }

    /// The φ convolutions.
    pub fn phi(&self) -> &Phi {
        &self.phi
    }

    /// The schedule.
    pub fn schedule(&self) -> &ScaleSchedule {
        &self.schedule
    }

    /// Area interpolation of `[B, z, h, w]` to `[B, z, side, side]` (adaptive average pooling).
    pub fn area(x: &Tensor, side: usize) -> Tensor {
        if x.size().last() == Some(&(side as i64)) {
            return x.shallow_clone();
        }
        x.adaptive_avg_pool2d([side as i64, side as i64])
    }

    /// Bicubic interpolation (a = −0.75, corners not aligned) of `[B, z, h, w]` to `[B, z, side, side]`.
    pub fn bicubic(x: &Tensor, side: usize) -> Tensor {
        if x.size().last() == Some(&(side as i64)) {
            return x.shallow_clone();
        }
        x.upsample_bicubic2d([side as i64, side as i64], false, None, None)
    }

    /// The residual `[B, z, h, w]` seen at scale `k`: rows `[B·s², z]`.
    fn rows(&self, residual: &Tensor, k: usize) -> Tensor {
        let pooled = Self::area(residual, self.schedule.side(k));
        let z = pooled.size().get(1).copied().unwrap_or(1);
        pooled.permute([0, 2, 3, 1]).reshape([-1, z])
    }

    /// The vectors that each scale would look up if codes were exact, `K` tensors `[B·s², z]`: what a
    /// codebook should cover before there is one. φ counts as the identity.
    ///
    /// # Errors
    /// When the latent's side is not the schedule's last.
    pub fn residual_rows(&self, latent: &Tensor) -> Result<Vec<Tensor>> {
        self.check_latent(latent)?;
        tch::no_grad(|| {
            let (batch, z, _, _) = latent.size4()?;
            let mut residual = latent.detach().to_kind(Kind::Float);
            let mut all = Vec::with_capacity(self.schedule.scales());
            for k in 0..self.schedule.scales() {
                let rows = self.rows(&residual, k);
                let side = self.schedule.side(k) as i64;
                let map = rows.view([batch, side, side, z]).permute([0, 3, 1, 2]);
                residual = residual - Self::bicubic(&map.contiguous(), self.schedule.last_side());
                all.push(rows);
            }
            Ok(all)
        })
    }

    /// What scale `k` adds to the latent when its code vectors are `vectors` `[B, s², z]`: `[B, z, h, w]`.
    pub fn contribution(&self, vectors: &Tensor, k: usize) -> Tensor {
        let side = self.schedule.side(k) as i64;
        let batch = vectors.size().first().copied().unwrap_or(0);
        let map = vectors.transpose(1, 2).reshape([batch, -1, side, side]);
        self.phi.forward(k, &Self::bicubic(&map, self.schedule.last_side()))
    }

    /// Zeros `[B, z, h, w]` to start f̂ from.
    pub fn empty_latent(&self, batch: i64) -> Tensor {
        let side = self.schedule.last_side() as i64;
        let codes = self.codebook.embedding();
        let z = codes.size().get(1).copied().unwrap_or(1);
        Tensor::zeros([batch, z, side, side], (Kind::Float, codes.device()))
    }

    /// Latent `[B, z, h, w]` → ids `[B, L]` (i64), without gradient.
    ///
    /// # Errors
    /// When the latent's side is not the schedule's last.
    pub fn encode(&self, latent: &Tensor) -> Result<Tensor> {
        self.check_latent(latent)?;
        tch::no_grad(|| {
            let batch = latent.size().first().copied().unwrap_or(0);
            let mut residual = latent.detach().to_kind(Kind::Float);
            let mut ids = Vec::with_capacity(self.schedule.scales());
            for k in 0..self.schedule.scales() {
                let found = self.codebook.nearest(&self.rows(&residual, k))?.view([batch, -1]);
                // Never in place: the residual starts as the caller's own tensor.
                residual = residual - self.contribution(&self.codebook.vectors(&found), k);
                ids.push(found);
            }
            Ok(Tensor::cat(&ids, 1))
        })
    }

    /// Ids `[B, L]` → f̂ after each scale, `K` tensors `[B, z, h, w]`.
    ///
    /// # Errors
    /// When there are more or fewer tokens than the schedule has.
    pub fn latents(&self, ids: &Tensor) -> Result<Vec<Tensor>> {
        let parts = self.split(ids, self.schedule.scales())?;
        let mut latent = self.empty_latent(ids.size().first().copied().unwrap_or(0));
        Ok(parts
            .iter()
            .enumerate()
            .map(|(k, part)| {
                latent = &latent + self.contribution(&self.codebook.vectors(part), k);
                latent.shallow_clone()
            })
            .collect())
    }

    /// Teacher-forcing vectors of scales 2… for ids `[B, ·]` of the first `scales` scales:
    /// `[B, (tokens of scales 2…scales), z]`; empty in the middle for one scale.
    ///
    /// # Errors
    /// When the ids do not cover exactly `scales` scales.
    pub fn to_model_input(&self, ids: &Tensor, scales: usize) -> Result<Tensor> {
        let parts = self.split(ids, scales)?;
        tch::no_grad(|| {
            let batch = ids.size().first().copied().unwrap_or(0);
            let mut latent = self.empty_latent(batch);
            let z = latent.size().get(1).copied().unwrap_or(1);
            let mut inputs = vec![Tensor::zeros([batch, 0, z], (Kind::Float, latent.device()))];
            for (k, part) in parts.iter().enumerate().take(scales.saturating_sub(1)) {
                latent += self.contribution(&self.codebook.vectors(part), k);
                inputs.push(self.input_vectors(&latent, k + 1));
            }
            Ok(Tensor::cat(&inputs, 1))
        })
    }

    /// The latent `[B, z, h, w]` at the side of scale `k`, row by row: `[B, s², z]`, the transformer's input there. It may
    /// share the memory of the latent.
    pub fn input_vectors(&self, latent: &Tensor, k: usize) -> Tensor {
        Self::area(latent, self.schedule.side(k)).flatten(2, 3).transpose(1, 2)
    }

    /// The training pass with straight-through gradient and VQ loss. With `dropout`, images keep only some of their first
    /// scales.
    ///
    /// Lookups see the detached latent in `f32` whatever the precision of the encoder.
    ///
    /// # Errors
    /// When the latent's side is not the schedule's last.
    pub fn training_pass(&self, latent: &Tensor, dropout: Option<&ScaleDropout>) -> Result<TrainingPass> {
        self.check_latent(latent)?;
        let latent = latent.to_kind(Kind::Float);
        let fixed = latent.detach();
        let mut residual = fixed.shallow_clone();
        let mut quantized = fixed.zeros_like();
        let mut loss = Tensor::zeros([], (Kind::Float, latent.device()));
        let batch = latent.size().first().copied().unwrap_or(0);
        let (mut ids, mut looked_up) = (Vec::new(), Vec::new());
        for k in 0..self.schedule.scales() {
            let rows = self.rows(&residual, k);
            let found = self.codebook.nearest(&rows)?.view([batch, -1]);
            let h = self.contribution(&self.codebook.vectors(&found), k);
            residual = &residual - h.detach();
            let (commitment, codebook) = match dropout {
                None => {
                    quantized = quantized + h;
                    let mean = Reduction::Mean;
                    (quantized.detach().mse_loss(&latent, mean), quantized.mse_loss(&fixed, mean))
                }
                Some(dropout) => {
                    quantized = quantized + h * dropout.mask(k, latent.device());
                    (dropout.error(&quantized.detach(), &latent, k), dropout.error(&quantized, &fixed, k))
                }
            };
            loss = loss + commitment * self.commitment + codebook;
            ids.push(found);
            looked_up.push(rows);
        }
        loss = loss / self.schedule.scales() as f64;
        let straight_through = &latent + (quantized.detach() - &fixed);
        Ok(TrainingPass { latent: straight_through, loss, ids, rows: looked_up })
    }

    fn check_latent(&self, latent: &Tensor) -> Result<()> {
        let (_, _, height, width) = latent.size4()?;
        let side = self.schedule.last_side() as i64;
        if (height, width) != (side, side) {
            return Err(Error::Config(format!(
                "the latent is {height}×{width}, but the schedule {} ends with side {side}; \
                 use images of another size, or another schedule",
                self.schedule
            )));
        }
        Ok(())
    }

    /// Splits `[B, ·]` into the first `scales` scales.
    fn split(&self, ids: &Tensor, scales: usize) -> Result<Vec<Tensor>> {
        let (_, found) = ids.size2()?;
        let expected = if scales == 0 { 0 } else { self.schedule.seen(scales - 1) };
        if found != expected as i64 || scales > self.schedule.scales() {
            return Err(Error::Config(format!(
                "{found} tokens per image, expected {expected} for the first {scales} scales of {}",
                self.schedule
            )));
        }
        let lengths: Vec<i64> = self.schedule.lengths().iter().take(scales).map(|&l| l as i64).collect();
        Ok(ids.split_with_sizes(&lengths, 1))
    }
}
