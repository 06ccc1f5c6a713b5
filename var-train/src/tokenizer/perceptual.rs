//! The perceptual loss: the distance of image and reconstruction in the features of a fixed network.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};
use var_eval::metrics::lpips::{ForwardCost, Lpips, Trunk};

use crate::error::{Error, Result};

/// The network of the perceptual loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PerceptualNetwork {
    /// The AlexNet of ST-LPIPS, fetched by `cargo xtask setup --features`.
    StLpipsAlex,
    /// The VGG16 of ST-LPIPS, fetched by `cargo xtask setup --features`.
    StLpipsVgg,
    /// LPIPS 0.1 with torchvision's AlexNet, from files of the user.
    LpipsAlex,
    /// LPIPS 0.1 with torchvision's VGG16, from files of the user: the published loss.
    LpipsVgg,
}

impl PerceptualNetwork {
    /// Its name in settings and metadata.
    pub fn name(self) -> String {
        self.trunk().key()
    }

    fn trunk(self) -> Trunk {
        match self {
            Self::StLpipsAlex => Trunk::ShiftTolerantAlex,
            Self::StLpipsVgg => Trunk::ShiftTolerantVgg,
            Self::LpipsAlex => Trunk::Alex,
            Self::LpipsVgg => Trunk::Vgg,
        }
    }

    /// Checks that images of `side` pixels are large enough.
    ///
    /// # Errors
    /// Names the smallest side.
    pub(crate) fn check_side(self, side: usize) -> Result<()> {
        let least = self.trunk().least_side() as usize;
        if side >= least {
            return Ok(());
        }
        Err(Error::config(format!(
            "perceptual.network = \"{}\" needs images of at least {least} pixels, the run has {side}. Train on larger \
             images, or set perceptual.weight = 0",
            self.name()
        )))
    }
}

/// The loss on one network.
#[derive(Debug)]
pub(crate) struct Perceptual(Lpips);

impl Perceptual {
    /// Loads `network` on `device` from the files `weights` and `heads` (LPIPS). An empty name of the weights takes the fetched
    /// ones of ST-LPIPS.
    ///
    /// # Errors
    /// When a file cannot be read or is of another network. Names all files that are missing, and says how to get a network
    /// that was not fetched yet.
    pub(crate) fn open(
        network: PerceptualNetwork,
        weights: &str,
        heads: &str,
        device: Device,
    ) -> Result<Self> {
        let trunk = network.trunk();
        if trunk.is_shift_tolerant() {
            let weights = match weights {
                "" => trunk.fetched().map_err(|e| Error::config(format!("{e} in perceptual.weights")))?,
                given => PathBuf::from(given),
            };
            return Ok(Self(Lpips::load_shift_tolerant(trunk, &weights, device)?));
        }
        if weights.is_empty() || heads.is_empty() {
            return Err(Error::config(format!(
                "{} needs two files: perceptual.weights (torchvision's network) and perceptual.heads (weights/v0.1 of the \
                 lpips package)",
                network.name()
            )));
        }
        Ok(Self(Lpips::load(trunk, Path::new(weights), Path::new(heads), device)?))
    }

    /// The loss on a network that is made.
    pub(crate) fn of(network: Lpips) -> Self {
        Self(network)
    }

    /// The cost of a forward pass of one image of `side` pixels.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn cost(&self, side: usize) -> Result<ForwardCost> {
        Ok(self.0.cost(side)?)
    }

    /// The mean distance of `images` and `reconstructions`, both `[B, 3, H, W]` in −1..1: a scalar. Differentiable by the
    /// reconstructions.
    ///
    /// # Errors
    /// When libtorch fails.
    pub(crate) fn distance(&self, images: &Tensor, reconstructions: &Tensor) -> Result<Tensor> {
        let references = tch::no_grad(|| self.0.features(images))?;
        Ok(self.0.mean_distance(&references, &self.0.features(reconstructions)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_one_name_in_settings_and_files() {
        for name in ["st-lpips-alex", "st-lpips-vgg", "lpips-alex", "lpips-vgg"] {
            let network: PerceptualNetwork = serde_json::from_value(name.into()).unwrap();
            assert_eq!(network.name(), name);
        }
    }
}
