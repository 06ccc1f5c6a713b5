//! Flags that choose a network.

use std::path::PathBuf;

use clap::Args;
use tch::Device;
use var_eval::features::colour::{self, ColourGrid};
use var_eval::features::network::FeatureNetwork;
use var_eval::features::registry::{NetworkChoice, NetworkName};
use var_eval::features::torchscript::ModuleSettings;
use var_eval::{Error, Result};
use var_tokenizer::torch::DeviceChoice;
use var_tokenizer::torch::module::Channels;

/// Which network, and where to compute.
#[derive(Args)]
pub struct NetworkArgs {
    /// efficientnet-lite0, inception-fid or torchscript
    #[arg(long, default_value = "efficientnet-lite0", value_name = "NAME")]
    network: String,
    /// File of its weights; efficientnet-lite0 finds those that `cargo xtask setup --features` fetched
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// How inception-fid prepares pictures: pytorch-fid, torch-fidelity or clean-fid
    #[arg(long, value_name = "NAME")]
    preprocessing: Option<String>,
    /// Side that pictures are resized to for torchscript
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    /// Mean of the channels of pictures in [0, 1], for torchscript (default: ImageNet's)
    #[arg(long, value_name = "R,G,B", allow_hyphen_values = true)]
    mean: Option<Channels>,
    /// Standard deviation of the channels, for torchscript (default: ImageNet's)
    #[arg(long, value_name = "R,G,B", allow_hyphen_values = true)]
    std: Option<Channels>,
    /// What the module gives: features or logits
    #[arg(long, value_name = "KIND")]
    output: Option<String>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long, default_value = "auto")]
    device: DeviceChoice,
    /// Threads that the network computes with (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl NetworkArgs {
    /// Where to compute.
    pub fn device(&self) -> Result<Device> {
        Ok(self.device.resolve()?)
    }

    /// Loads the network.
    pub fn open(&self) -> Result<Box<dyn FeatureNetwork>> {
        if self.network == colour::NAME {
            return Ok(Box::new(ColourGrid::default()));
        }
        let mut choice = NetworkChoice::named(&self.network)?;
        let module =
            self.side.is_some() || self.mean.is_some() || self.std.is_some() || self.output.is_some();
        if module && choice.name != NetworkName::TorchScript {
            return Err(Error::config("--side, --mean, --std and --output are for --network torchscript"));
        }
        choice.weights.clone_from(&self.weights);
        choice.preprocessing = self.preprocessing.as_deref().map(str::parse).transpose()?;
        choice.threads = self.threads;
        let usual = ModuleSettings::default();
        choice.module = ModuleSettings {
            side: self.side.unwrap_or(usual.side),
            mean: self.mean.map_or(usual.mean, |mean| mean.0),
            deviation: self.std.map_or(usual.deviation, |std| std.0),
            output: self.output.as_deref().map(str::parse).transpose()?.unwrap_or(usual.output),
            ..usual
        };
        choice.open(self.device()?)
    }
}
