//! The order of generation.
//!
//! Sources: section 3.1 of the paper (raster scan) and 3.2 (next scale).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Which tokens are predicted together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Order {
    /// Next-scale prediction: a step predicts a whole token map, from coarse to fine. Its input is the latent so far,
    /// resized to the side of the map.
    #[default]
    NextScale,
    /// Raster scan, the rival: one map, row by row; a step predicts one token. Its input is the code vector of the token
    /// before it.
    Raster,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::NextScale, Self::Raster];

    /// Its name in settings and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::NextScale => "next-scale",
            Self::Raster => "raster",
        }
    }

    /// Whether this is next-scale prediction.
    pub fn is_next_scale(&self) -> bool {
        *self == Self::NextScale
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Order {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|order| order.name() == text)
            .ok_or_else(|| Error::Config(format!("order '{text}': write next-scale or raster")))
    }
}
