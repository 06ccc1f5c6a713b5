//! The interface of a feature network.

use image::RgbImage;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// The network, its weights and its preprocessing. Features compare only if all of it is equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the network: `inception-fid`, `efficientnet-lite0`, `torchscript`.
    pub network: String,
    /// SHA-256 of the file of weights, 64 hexadecimal digits.
    pub weights_sha256: String,
    /// How images are resized and normalised: a name with settings.
    pub preprocessing: String,
    /// Features of an image, `D`.
    pub width: usize,
    /// Logits of an image, `C`; 0 if the network has none.
    pub classes: usize,
    /// Spatial features of an image (sFID), `S`; 0 if the network has none.
    pub spatial: usize,
}

/// Outputs of a network for `B` images.
#[derive(Debug, Clone, PartialEq)]
pub struct Activations {
    /// Pooled features `[B, D]`.
    pub features: Array2<f32>,
    /// Logits `[B, C]` for the Inception Score: without bias if its tools omit it.
    pub logits: Option<Array2<f32>>,
    /// Flattened spatial features `[B, S]` (sFID).
    pub spatial: Option<Array2<f32>>,
}

/// A network with its weights and its preprocessing.
pub trait FeatureNetwork {
    /// The network, its weights and its preprocessing.
    fn identity(&self) -> &Identity;

    /// Activations of 8-bit images, which may differ in size. The activations of an image do not depend on the other
    /// images, except for rounding.
    ///
    /// # Errors
    /// When libtorch fails, or an image cannot be resized.
    fn activations(&self, pictures: &[RgbImage]) -> Result<Activations>;
}
