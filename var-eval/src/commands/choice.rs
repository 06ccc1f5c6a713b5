//! Flags that choose a network.

use std::path::PathBuf;

use clap::Args;
use tch::Device;
use var_eval::features::colour::{self, ColourGrid};
use var_eval::features::network::FeatureNetwork;
use var_eval::features::registry::{NetworkChoice, NetworkName};
use var_eval::features::torchscript::ModuleSettings;
use var_eval::{Error, Result};
use var_tokenizer::progress::Progress;
use var_tokenizer::torch::DeviceChoice;
use var_tokenizer::torch::module::Channels;

/// Which network, and where to compute.
#[derive(Args)]
pub struct NetworkArgs {
    /// efficientnet-lite0, inception-fid or torchscript [default: efficientnet-lite0]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
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
    /// auto, cpu, cuda or cuda:N [default: auto]
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Threads that the network computes with (default: one a core)
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl NetworkArgs {
    /// Where to compute.
    pub fn device(&self) -> Result<Device> {
        Ok(self.device.unwrap_or_default().resolve()?)
    }

    /// The flags that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("--network", self.network.is_some()),
            ("--weights", self.weights.is_some()),
            ("--preprocessing", self.preprocessing.is_some()),
            ("--side", self.side.is_some()),
            ("--mean", self.mean.is_some()),
            ("--std", self.std.is_some()),
            ("--output", self.output.is_some()),
            ("--device", self.device.is_some()),
            ("--threads", self.threads.is_some()),
        ];
        flags.into_iter().filter(|&(_, given)| given).map(|(flag, _)| flag).collect()
    }

    /// Loads the network. Says which flags it does not use.
    pub fn open(&self, progress: &Progress) -> Result<Box<dyn FeatureNetwork>> {
        let name = self.network.as_deref().unwrap_or(NetworkName::default().name());
        if name == colour::NAME {
            let unused: Vec<_> = self.given().into_iter().filter(|&flag| flag != "--network").collect();
            without_effect(&unused, &format!("network {name} has no weights and no settings"), progress);
            return Ok(Box::new(ColourGrid::default()));
        }
        let mut choice = NetworkChoice::named(name)?;
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

/// Says once that flags have no effect, and why.
pub fn without_effect(flags: &[&str], why: &str, progress: &Progress) {
    if !flags.is_empty() {
        let verb = if flags.len() == 1 { "has" } else { "have" };
        progress.note(&format!("{} {verb} no effect: {why}", flags.join(", ")));
    }
}
