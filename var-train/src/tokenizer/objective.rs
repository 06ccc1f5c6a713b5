//! The generator's loss: pixels, perceptual distance, VQ and the adversary, and its backward pass.
//!
//! Source: `VQLPIPSWithDiscriminator` of taming-transformers. The published code differentiates network and discriminator
//! twice per step, once for the adaptive weight. Here each runs backward once, as far as the reconstruction; the sum of
//! both gradients then runs backward through the tokenizer.

use tch::{Kind, Reduction, Tensor};

use super::losses::adaptive_weight;
use super::perceptual::Perceptual;
use crate::distributed::Ranks;
use crate::error::Result;

/// The weights and networks of the loss.
#[derive(Clone, Copy)]
pub(crate) struct Objective<'a> {
    /// Weight of the absolute error.
    pub l1: f64,
    /// Weight of the squared error.
    pub l2: f64,
    /// Weight of the VQ loss.
    pub vq: f64,
    /// The perceptual loss and its weight.
    pub perceptual: Option<(&'a Perceptual, f64)>,
    /// The adversarial loss, once it is on.
    pub adversarial: Option<Adversarial<'a>>,
    /// All ranks, which have a part of every batch.
    pub ranks: Ranks,
}

/// The adversarial part of the loss.
#[derive(Clone, Copy)]
pub(crate) struct Adversarial<'a> {
    /// The generator's loss on reconstructions.
    pub loss: &'a dyn Fn(&Tensor) -> Result<Tensor>,
    /// Its weight.
    pub weight: f64,
    /// Share of the weight that counts at this step.
    pub factor: f64,
    /// The last layer's weight, by whose gradients the weight adapts; `None` keeps the weight.
    pub last_layer: Option<&'a Tensor>,
}

/// The terms of the loss of a batch, or the share of a micro-batch in them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Terms {
    /// The weighted sum.
    pub total: f64,
    /// Mean absolute error.
    pub l1: f64,
    /// Mean squared error.
    pub l2: f64,
    /// VQ loss.
    pub vq: f64,
    /// Perceptual distance.
    pub perceptual: f64,
    /// The generator's adversarial loss.
    pub adversarial: f64,
    /// Its weight, adapted, without the factor of the step.
    pub weight: f64,
}

impl Terms {
    /// Averages the terms over all ranks.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn join(&mut self, ranks: Ranks) -> Result<()> {
        let Self { total, l1, l2, vq, perceptual, adversarial, weight } = self;
        ranks.average([total, l1, l2, vq, perceptual, adversarial, weight])
    }

    /// Adds the terms of a micro-batch that is `share` of the batch.
    pub(crate) fn add(&mut self, other: &Self, share: f64) {
        self.total += other.total * share;
        self.l1 += other.l1 * share;
        self.l2 += other.l2 * share;
        self.vq += other.vq * share;
        self.perceptual += other.perceptual * share;
        self.adversarial += other.adversarial * share;
        self.weight += other.weight * share;
    }
}

impl Objective<'_> {
    /// Computes the loss of `reconstruction` against `images` (both `[B, 3, S, S]` in [-1, 1]), multiplied by `share`, and
    /// adds its gradients to the tokenizer's. `vq` is the VQ loss of the same forward pass. The `last` pass of a step
    /// averages the gradients over all ranks.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn backward(
        &self,
        images: &Tensor,
        reconstruction: &Tensor,
        vq: Option<&Tensor>,
        (share, last): (f64, bool),
    ) -> Result<Terms> {
        let value = |t: &Tensor| -> Result<f64> { Ok(t.f_double_value(&[])?) };
        let Some(adversarial) = &self.adversarial else {
            let (mut loss, mut terms) = self.reconstruction(images, reconstruction)?;
            if let Some(vq) = vq {
                loss = loss + vq * self.vq;
                terms.vq = value(vq)?;
            }
            terms.total = value(&loss)?;
            self.ranks.backward(&(&loss * share), last)?;
            return Ok(terms);
        };
        // The losses meet at the reconstruction: their gradients by it are all that the tokenizer needs.
        let leaf = reconstruction.f_detach()?.f_set_requires_grad(true)?;
        let (loss, mut terms) = self.reconstruction(images, &leaf)?;
        let gradient = gradient(&loss, &leaf)?;
        let judged = (adversarial.loss)(&leaf)?;
        let adverse = self.ranks.explained(self::gradient(&judged, &leaf))?;
        terms.adversarial = value(&judged)?;
        terms.weight = adversarial.weight;
        if let Some(layer) = adversarial.last_layer {
            let at_layer = |by: &Tensor| gradient_of_product(reconstruction, by, layer);
            let gradients = [at_layer(&gradient)?, at_layer(&adverse)?];
            self.ranks.average_tensors(&gradients)?;
            let [by_reconstruction, by_adversary] = &gradients;
            terms.weight *= adaptive_weight(by_reconstruction, by_adversary)?;
        }
        let weight = adversarial.factor * terms.weight;
        let gradient = gradient.f_add(&adverse.f_mul_scalar(weight)?)?;
        let mut carrier = (reconstruction * gradient).f_sum(Kind::Float)?;
        terms.total = value(&loss)? + weight * terms.adversarial;
        if let Some(vq) = vq {
            carrier = carrier + vq * self.vq;
            terms.vq = value(vq)?;
            terms.total += terms.vq * self.vq;
        }
        self.ranks.backward(&(carrier * share), last)?;
        Ok(terms)
    }

    /// Pixel and perceptual losses: their weighted sum, and each.
    fn reconstruction(&self, images: &Tensor, reconstruction: &Tensor) -> Result<(Tensor, Terms)> {
        let l1 = reconstruction.f_l1_loss(images, Reduction::Mean)?;
        let l2 = reconstruction.f_mse_loss(images, Reduction::Mean)?;
        let mut loss = &l1 * self.l1 + &l2 * self.l2;
        let mut terms =
            Terms { l1: l1.f_double_value(&[])?, l2: l2.f_double_value(&[])?, ..Terms::default() };
        if let Some((perceptual, weight)) = self.perceptual {
            let distance = perceptual.distance(images, reconstruction)?;
            terms.perceptual = distance.f_double_value(&[])?;
            loss = loss + distance * weight;
        }
        Ok((loss, terms))
    }
}

/// The gradient of a scalar by `leaf`.
fn gradient(scalar: &Tensor, leaf: &Tensor) -> Result<Tensor> {
    let mut found = Tensor::f_run_backward(&[scalar], &[leaf], false, false)?;
    Ok(found.pop().unwrap_or_default())
}

/// The gradient by `layer` of the sum of `output` times `by`. Keeps the graph of `output`.
fn gradient_of_product(output: &Tensor, by: &Tensor, layer: &Tensor) -> Result<Tensor> {
    let product = (output * by).f_sum(Kind::Float)?;
    let mut found = Tensor::f_run_backward(&[product], &[layer], true, false)?;
    Ok(found.pop().unwrap_or_default())
}
