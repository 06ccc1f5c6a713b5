//! What a caller sees of a batch while it is sampled.

use std::ops::ControlFlow;

use tch::Tensor;

/// A finished step of a batch.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// Number of the step, from 0.
    pub index: usize,
    /// Number of steps in all.
    pub steps: usize,
    /// Latents `[B, z, h, w]`, if the step finished a token map.
    pub latent: Option<&'a Tensor>,
}

/// Sees each finished step. `ControlFlow::Break` ends the sampling before the next one.
pub type Watch<'a> = dyn FnMut(Step<'_>) -> ControlFlow<()> + 'a;

/// A [`Watch`] that looks at nothing and never ends the sampling.
pub(crate) fn unwatched(_: Step<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}
