//! Learning rate and weight decay over the run, and the scale that progressive training has reached.
//!
//! Source: `utils/lr_control.py` and `trainer.py` of the published code.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Shape of the learning rate after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Shape {
    /// Half a cosine: `cos`.
    Cosine,
    /// Flat for this share of the rest, then linear: `flat0.2`. The published `lin` is `flat0.15`, `lin0`
    /// (the default) `flat0.05`, `lin00` `flat0`.
    Flat(f64),
    /// Two linear pieces that meet half-way after this share: `lin0.3`.
    Knee(f64),
    /// Flat for 15%, then exponential: `exp`.
    Exponential,
}

impl FromStr for Shape {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let share = |digits: &str| digits.parse::<f64>().ok().filter(|t| (0.0..1.0).contains(t));
        let found = match text {
            "cos" => Some(Self::Cosine),
            "lin" => Some(Self::Flat(0.15)),
            "lin0" => Some(Self::Flat(0.05)),
            "lin00" => Some(Self::Flat(0.0)),
            "exp" => Some(Self::Exponential),
            _ => match (text.strip_prefix("flat"), text.strip_prefix("lin")) {
                (Some(digits), _) => share(digits).map(Self::Flat),
                (_, Some(digits)) => share(digits).filter(|&t| t > 0.0).map(Self::Knee),
                _ => None,
            },
        };
        found.ok_or_else(|| {
            Error::config(format!(
                "learning-rate shape '{text}': use cos, lin, lin0, lin00, exp, flatX (flat for the share X, then linear) or linX"
            ))
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cosine => f.write_str("cos"),
            Self::Flat(share) => write!(f, "flat{share}"),
            Self::Knee(share) => write!(f, "lin{share}"),
            Self::Exponential => f.write_str("exp"),
        }
    }
}

impl TryFrom<String> for Shape {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Shape> for String {
    fn from(shape: Shape) -> Self {
        shape.to_string()
    }
}

/// Learning rate and weight decay as functions of the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Shape after the warm-up.
    pub shape: Shape,
    /// Largest learning rate.
    pub peak: f64,
    /// Steps of the linear warm-up; rounded half to even.
    pub warmup: f64,
    /// Steps of the run.
    pub steps: u64,
    /// Share of the peak at step 0.
    pub start: f64,
    /// Share of the peak at the end.
    pub end: f64,
    /// Weight decay at step 0.
    pub decay: f64,
    /// Weight decay at the end, reached by half a cosine.
    pub decay_end: f64,
}

impl Schedule {
    /// Learning rate of step `step` (from 0).
    pub(crate) fn learning_rate(&self, step: u64) -> f64 {
        let (at, warmup) = (step as f64, self.warmup.round_ties_even());
        if at < warmup {
            return self.peak * (self.start + (1.0 - self.start) * at / warmup);
        }
        let passed = (at - warmup) / (self.steps as f64 - 1.0 - warmup).max(1e-12);
        let rest = 1.0 - passed;
        let end = self.end;
        self.peak
            * match self.shape {
                Shape::Cosine => end + (1.0 - end) * (0.5 + 0.5 * (std::f64::consts::PI * passed).cos()),
                Shape::Flat(share) if passed < share => 1.0,
                Shape::Flat(share) => end + (1.0 - end) * rest / (1.0 - share),
                Shape::Knee(share) => {
                    let middle = (1.0 + (end + (1.0 - end) * (1.0 - share))) / 2.0;
                    if passed < share {
                        1.0 + (middle - 1.0) * passed / share
                    } else {
                        end + (middle - end) * rest / (1.0 - share)
                    }
                }
                Shape::Exponential if passed < 0.15 => 1.0,
                Shape::Exponential => ((passed - 0.15) / 0.85 * end.ln()).exp(),
            }
    }

    /// Weight decay of step `step`, for parameters with weight decay.
    pub(crate) fn weight_decay(&self, step: u64) -> f64 {
        let passed = step as f64 / (self.steps as f64 - 1.0).max(1e-12);
        self.decay_end + (self.decay - self.decay_end) * (0.5 + 0.5 * (std::f64::consts::PI * passed).cos())
    }
}

/// Progressive training: which scales take part at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Progression {
    /// Share of the run after which all scales take part.
    pub share: f64,
    /// Scale index that the run starts with.
    pub first: usize,
    /// Steps before the first new scale.
    pub warmup: f64,
    /// Steps of the run.
    pub steps: u64,
    /// Number of scales.
    pub scales: usize,
}

impl Progression {
    /// Index of the last scale that takes part at `step`.
    pub(crate) fn scale_index(&self, step: u64) -> usize {
        let (at, end) = (step as f64, self.steps as f64 * self.share);
        if at <= self.warmup {
            return self.first;
        }
        if at >= end {
            return self.scales.saturating_sub(1);
        }
        let passed = ((at - self.warmup) / (end - self.warmup)).clamp(0.0, 1.0);
        let more = self.scales.saturating_sub(1 + self.first) as f64;
        self.first + (passed * more).round_ties_even() as usize
    }
}
