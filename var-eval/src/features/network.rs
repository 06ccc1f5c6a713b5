//! What every feature network promises, whatever is inside.

use image::RgbImage;
use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// Which network gave the features, with which weights, and what happened to the pictures before it. Features
/// compare only where all of it is equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Name of the network: `inception-fid`, `efficientnet-lite0`, `torchscript`.
    pub network: String,
    /// SHA-256 of the file of weights, 64 hexadecimal digits.
    pub weights_sha256: String,
    /// Name of the way pictures are resized and normalised, with its settings.
    pub preprocessing: String,
    /// Features of a picture, `D`.
    pub width: usize,
    /// Logits of a picture, `C`; 0 when the network gives none.
    pub classes: usize,
    /// Spatial features of a picture (sFID), `S`; 0 when the network gives none.
    pub spatial: usize,
}

/// What a network says about `B` pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct Activations {
    /// Pooled features `[B, D]`.
    pub features: Array2<f32>,
    /// Logits `[B, C]`, as the Inception Score wants them: without bias where its tools leave it out.
    pub logits: Option<Array2<f32>>,
    /// Flattened spatial features `[B, S]` (sFID).
    pub spatial: Option<Array2<f32>>,
}

/// A network with its weights and its preprocessing.
pub trait FeatureNetwork {
    /// What it is.
    fn identity(&self) -> &Identity;

    /// Activations of 8-bit pictures, which may differ in size. A picture's activations do not depend on the
    /// pictures beside it beyond float rounding.
    ///
    /// # Errors
    /// When libtorch fails, or a picture cannot be resized.
    fn activations(&self, pictures: &[RgbImage]) -> Result<Activations>;
}
