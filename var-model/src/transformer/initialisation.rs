//! Standard deviations of the initial weights.
//!
//! Source: `init_weights` in `models/var.py` of the published code.

use serde::{Deserialize, Serialize};
use var_tokenizer::weights::Init;

use crate::config::TransformerConfig;

/// Factors on the base deviation of the initial weights, `√(1/(3·width))` (`√(1/width)` for the offsets of blocks with a
/// shared AdaLN). The defaults are the published recipe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Initialisation {
    /// Factor on the head's weight.
    pub head: f64,
    /// Factor on AdaLN's scales and shifts.
    pub adaln: f64,
    /// Factor on AdaLN's gates γ.
    pub adaln_gamma: f64,
}

impl Default for Initialisation {
    fn default() -> Self {
        Self { head: 0.02, adaln: 0.5, adaln_gamma: 1e-3 }
    }
}

/// [`Initialisation`] for one configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deviations {
    scaling: Initialisation,
    width: u64,
    depth: usize,
}

impl Initialisation {
    pub(crate) fn for_config(&self, config: &TransformerConfig) -> Deviations {
        Deviations { scaling: *self, width: config.width as u64, depth: config.depth }
    }
}

impl Deviations {
    /// `√(1/C/3)`, the deviation without a factor.
    fn base(&self) -> f64 {
        (1.0 / self.width as f64 / 3.0).sqrt()
    }

    /// Any linear layer or embedding.
    pub(crate) fn plain(&self) -> Init {
        Init::Normal(self.base())
    }

    /// The output layers of a block's two branches.
    pub(crate) fn branch_output(&self) -> Init {
        Init::Normal(self.base() / (2.0 * self.depth as f64).sqrt())
    }

    /// The output layer to the logits.
    pub(crate) fn head(&self) -> Init {
        Init::Normal(self.base() * self.scaling.head)
    }

    /// AdaLN before the head.
    pub(crate) fn head_adaln(&self) -> Init {
        Init::Normal(self.base() * self.scaling.adaln)
    }

    /// A block's AdaLN weight `[6C, C]`: gates first.
    pub(crate) fn adaln(&self) -> Init {
        Init::SplitNormal {
            count: 2 * self.width * self.width,
            first: self.base() * self.scaling.adaln_gamma,
            rest: self.base() * self.scaling.adaln,
        }
    }

    /// The offsets `[1, 1, 6, C]` of a block with a shared AdaLN: gates first.
    pub(crate) fn adaln_offsets(&self) -> Init {
        let base = 1.0 / (self.width as f64).sqrt();
        Init::SplitNormal {
            count: 2 * self.width,
            first: base * self.scaling.adaln_gamma,
            rest: base * self.scaling.adaln,
        }
    }
}
