//! The perceptual loss: the distance of image and reconstruction in the features of a fixed network.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::{Device, Tensor};
use var_eval::metrics::lpips::{Lpips, Trunk};

use crate::error::{Error, Result};
use crate::settings::PerceptualTraining;

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
    pub fn name(self) -> &'static str {
        match self {
            Self::StLpipsAlex => "st-lpips-alex",
            Self::StLpipsVgg => "st-lpips-vgg",
            Self::LpipsAlex => "lpips-alex",
            Self::LpipsVgg => "lpips-vgg",
        }
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
    /// Loads the network. Those of ST-LPIPS take one file, `weights`; those of LPIPS also `heads`.
    ///
    /// # Errors
    /// When a file cannot be read or is of another network.
    pub(crate) fn load(
        network: PerceptualNetwork,
        weights: &Path,
        heads: Option<&PathBuf>,
        device: Device,
    ) -> Result<Self> {
        let trunk = network.trunk();
        Ok(Self(if trunk.is_shift_tolerant() {
            Lpips::load_shift_tolerant(trunk, weights, device)?
        } else {
            let heads = heads.ok_or_else(|| {
                Error::config(format!(
                    "perceptual.heads is missing: {} needs the file of its heads",
                    network.name()
                ))
            })?;
            Lpips::load(trunk, weights, heads, device)?
        }))
    }

    /// Loads the network that `settings` name, on `device`.
    ///
    /// # Errors
    /// As [`Perceptual::load`]; when a network was not fetched yet, says how to get it.
    pub(crate) fn of_settings(settings: &PerceptualTraining, device: Device) -> Result<Self> {
        let network = settings.network;
        let weights = match settings.weights.as_str() {
            "" if network.trunk().is_shift_tolerant() => network.trunk().fetched()?,
            "" => {
                return Err(Error::config(format!(
                    "perceptual.weights is missing: {} needs torchvision's file of the network",
                    network.name()
                )));
            }
            given => PathBuf::from(given),
        };
        let heads = (!settings.heads.is_empty()).then(|| PathBuf::from(&settings.heads));
        Self::load(network, &weights, heads.as_ref(), device)
    }

    /// The loss on a network that is made.
    pub(crate) fn of(network: Lpips) -> Self {
        Self(network)
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
