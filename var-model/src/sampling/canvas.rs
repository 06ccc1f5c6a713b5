//! What is generated so far, and the input of the next step.

use tch::Tensor;
use var_tokenizer::quantizer::Quantizer;

use crate::config::TransformerConfig;
use crate::error::Result;
use crate::order::Order;

/// A batch of images in the making.
#[derive(Debug)]
pub(super) struct Canvas<'a> {
    quantizer: &'a Quantizer,
    config: &'a TransformerConfig,
    /// `[B, z, h, w]`
    latent: Tensor,
    /// After each token map that is finished.
    latents: Vec<Tensor>,
    /// Code vectors of the map in the making, `[B, l, z]` per step. Next-scale prediction finishes a map in one step.
    vectors: Vec<Tensor>,
}

impl<'a> Canvas<'a> {
    /// Empty, for `batch` images.
    pub(super) fn new(quantizer: &'a Quantizer, config: &'a TransformerConfig, batch: i64) -> Self {
        let latent = quantizer.empty_latent(batch);
        Self { quantizer, config, latent, latents: Vec::new(), vectors: Vec::new() }
    }

    /// Adds the code vectors `[B, l, z]` of step `k`. Gives the latent `[B, z, h, w]` if they finish a token map.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(super) fn add(&mut self, vectors: Tensor, k: usize) -> Result<Option<&Tensor>> {
        let place = self.config.place(k);
        self.vectors.push(vectors);
        if place.within.end < self.config.schedule.range(place.scale).len() {
            return Ok(None);
        }
        let map = Tensor::f_cat(&self.vectors, 1)?;
        // Not in place: latents given earlier share the memory.
        self.latent = &self.latent + self.quantizer.contribution(&map, place.scale);
        self.latents.push(self.latent.shallow_clone());
        if self.config.order == Order::NextScale {
            self.vectors.clear();
        }
        Ok(Some(&self.latent))
    }

    /// Input vectors `[B, l, z]` of step `k`, which is not the first.
    pub(super) fn input(&self, k: usize) -> Option<Tensor> {
        match self.config.order {
            Order::NextScale => Some(self.quantizer.input_vectors(&self.latent, self.config.place(k).scale)),
            Order::Raster => self.vectors.last().map(Tensor::shallow_clone),
        }
    }

    /// The latents after each token map.
    pub(super) fn finish(self) -> Vec<Tensor> {
        self.latents
    }
}
