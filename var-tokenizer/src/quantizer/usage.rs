//! How much of the codebook each scale uses.

use tch::{Kind, Tensor};

/// Updates after which the moving average becomes slow.
const FAST_UPDATES: u64 = 100;

/// Moving average of the hits of every code at every scale.
#[derive(Debug)]
pub struct Usage {
    /// `[K, V]`, shared with the buffer `ema_vocab_hit_SV` of the checkpoint.
    hits: Tensor,
    updates: u64,
}

/// Use of one scale.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
pub struct ScaleUsage {
    /// Share of the codes whose average reaches the threshold, 0 to 1.
    pub used: f64,
    /// Exponential of the entropy of the hits: how many codes it feels like.
    pub perplexity: f64,
}

impl Usage {
    /// Averages kept in `hits` `[K, V]`, of which `updates` were made before.
    pub fn new(hits: &Tensor, updates: u64) -> Self {
        Self { hits: hits.shallow_clone(), updates }
    }

    /// Number of updates so far.
    pub fn updates(&self) -> u64 {
        self.updates
    }

    /// Takes in the ids of one training step, one tensor of any shape a scale.
    pub fn update(&mut self, ids: &[Tensor]) {
        let vocabulary = self.hits.size().get(1).copied().unwrap_or(0);
        let counts = ids.iter().map(|ids| ids.flatten(0, -1).bincount::<Tensor>(None, vocabulary));
        self.update_hits(&Tensor::stack(&counts.collect::<Vec<_>>(), 0));
    }

    /// Takes in the hits `[K, V]` of one training step.
    ///
    /// The first update is copied; then the average keeps 0.9 below 100 updates and 0.99 after.
    pub fn update_hits(&mut self, hits: &Tensor) {
        let keep = match self.updates {
            0 => 0.0,
            n if n < FAST_UPDATES => 0.9,
            _ => 0.99,
        };
        tch::no_grad(|| {
            let hits = hits.to_kind(Kind::Float).to_device(self.hits.device());
            let mixed = &self.hits * keep + hits * (1.0 - keep);
            self.hits.copy_(&mixed);
        });
        self.updates += 1;
    }

    /// Returns the use of every scale, for steps of `images` images with `positions` latent positions each.
    ///
    /// A code counts as used when its average reaches `0.08 · images · positions / V`, as published.
    pub fn per_scale(&self, images: usize, positions: usize) -> Vec<ScaleUsage> {
        let vocabulary = self.hits.size().get(1).copied().unwrap_or(1).max(1);
        let threshold = 0.08 * (images * positions) as f64 / vocabulary as f64;
        tch::no_grad(|| {
            self.hits
                .unbind(0)
                .iter()
                .map(|row| {
                    let used = row.ge(threshold).to_kind(Kind::Double).mean(Kind::Double).double_value(&[]);
                    ScaleUsage { used, perplexity: perplexity(row) }
                })
                .collect()
        })
    }
}

/// Exponential of the entropy of non-negative counts `[V]`; 0 when all are zero.
pub fn perplexity(counts: &Tensor) -> f64 {
    let counts = counts.to_kind(Kind::Double);
    let total = counts.sum(Kind::Double).double_value(&[]);
    if total <= 0.0 {
        return 0.0;
    }
    let p = counts / total;
    let entropy = -(&p * p.clamp_min(1e-30).log()).sum(Kind::Double).double_value(&[]);
    entropy.exp()
}
