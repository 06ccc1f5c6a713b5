//! Losses of the tokenizer's adversarial training, and the weight that balances them.
//!
//! Source: `modules/losses/vqperceptual.py` of taming-transformers; LeCam by Tseng et al. 2021.

use serde::{Deserialize, Serialize};
use tch::{Kind, Tensor};

use crate::error::Result;

/// The loss of the discriminator, with that of the generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdversarialLoss {
    /// Hinge for the discriminator; the generator raises the mean logit.
    Hinge,
    /// Cross-entropy for both; the generator's is the non-saturating one.
    Logistic,
}

impl AdversarialLoss {
    /// The discriminator's loss on the logits of real and generated images: a scalar.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn discriminator(self, real: &Tensor, fake: &Tensor) -> Result<Tensor> {
        let (real, fake) = match self {
            Self::Hinge => ((1.0_f64 - real).f_relu()?, fake.f_add_scalar(1.0)?.f_relu()?),
            Self::Logistic => (real.f_neg()?.f_softplus()?, fake.f_softplus()?),
        };
        Ok(real.f_mean(Kind::Float)?.f_add(&fake.f_mean(Kind::Float)?)?.f_mul_scalar(0.5)?)
    }

    /// The generator's loss on the logits of generated images: a scalar.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn generator(self, fake: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::Hinge => fake.f_mean(Kind::Float)?.f_neg()?,
            Self::Logistic => fake.f_neg()?.f_softplus()?.f_mean(Kind::Float)?,
        })
    }
}

/// Added to the norm of the adversarial gradient.
const EPSILON: f64 = 1e-4;
/// The largest adaptive weight.
const LARGEST: f64 = 1e4;

/// The factor that makes the adversarial loss weigh as much as the reconstruction at the last layer: the norm of the
/// reconstruction's gradient over that of the adversarial one, at most 10⁴.
///
/// # Errors
/// When libtorch fails.
pub(crate) fn adaptive_weight(reconstruction: &Tensor, adversarial: &Tensor) -> Result<f64> {
    let norm = |t: &Tensor| -> Result<f64> { Ok(t.f_norm()?.f_double_value(&[])?) };
    Ok((norm(reconstruction)? / (norm(adversarial)? + EPSILON)).clamp(0.0, LARGEST))
}

/// LeCam's regulariser: it pulls logits towards moving averages of the other side's mean logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct LeCam {
    decay: f64,
    /// Average logit of real images.
    pub real: f64,
    /// Average logit of generated images.
    pub fake: f64,
}

impl LeCam {
    /// Averages that start at 0 and keep `decay` of themselves per update.
    pub(crate) fn new(decay: f64) -> Self {
        Self { decay, real: 0.0, fake: 0.0 }
    }

    /// Adds the mean logits of a batch to the averages.
    pub(crate) fn update(&mut self, real: f64, fake: f64) {
        self.real = self.real * self.decay + real * (1.0 - self.decay);
        self.fake = self.fake * self.decay + fake * (1.0 - self.decay);
    }

    /// The penalty on the logits of a batch: a scalar.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn penalty(&self, real: &Tensor, fake: &Tensor) -> Result<Tensor> {
        let real = (real - self.fake).f_relu()?.f_square()?.f_mean(Kind::Float)?;
        let fake = (self.real - fake).f_relu()?.f_square()?.f_mean(Kind::Float)?;
        Ok(real.f_add(&fake)?)
    }
}
