//! Flags that choose a network.

use std::path::PathBuf;

use clap::Args;
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
    /// Network: efficientnet-lite0, inception-fid or torchscript [default: efficientnet-lite0]
    #[arg(long, value_name = "NAME")]
    network: Option<String>,
    /// File with its weights [default for efficientnet-lite0: the file that `cargo xtask setup --features` fetched; for
    /// inception-fid: pytorch-fid's file, fetched once]
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    /// Preprocessing for inception-fid: pytorch-fid, torch-fidelity or clean-fid [default: pytorch-fid]
    #[arg(long, value_name = "NAME")]
    preprocessing: Option<String>,
    /// Side that images are resized to, for torchscript [default: 224]
    #[arg(long, value_name = "PIXELS")]
    side: Option<usize>,
    /// Mean of each channel of images in [0, 1], for torchscript [default: that of ImageNet]
    #[arg(long, value_name = "R,G,B", allow_hyphen_values = true)]
    mean: Option<Channels>,
    /// Standard deviation of each channel, for torchscript [default: that of ImageNet]
    #[arg(long, value_name = "R,G,B", allow_hyphen_values = true)]
    std: Option<Channels>,
    /// Output of the torchscript module: features or logits [default: features]
    #[arg(long, value_name = "KIND")]
    output: Option<String>,
    /// Device: auto, cpu, cuda or cuda:N [default: auto]
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// Number of threads for the network [default: one per core]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl NetworkArgs {
    /// Where to compute.
    pub fn device(&self) -> DeviceChoice {
        self.device.unwrap_or_default()
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

    /// Says which flags the network does not use.
    pub fn note_unused(&self, progress: &Progress) {
        let colours = NetworkName::ColourGrid.name();
        if self.network.as_deref() == Some(colours) {
            let unused: Vec<_> = self.given().into_iter().filter(|&flag| flag != "--network").collect();
            without_effect(&unused, &format!("network {colours} has no weights and no settings"), progress);
        }
    }

    /// The network that the flags choose.
    pub fn choice(&self) -> Result<NetworkChoice> {
        let name = self.network.as_deref().unwrap_or(NetworkName::default().name());
        let mut choice = NetworkChoice::named(name)?;
        if choice.name == NetworkName::ColourGrid {
            return Ok(choice);
        }
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
        Ok(choice)
    }

    /// Loads the network, and says which flags it does not use.
    pub fn open(&self, progress: &Progress) -> Result<Box<dyn FeatureNetwork>> {
        let network = self.choice()?.open(self.device().resolve()?)?;
        self.note_unused(progress);
        Ok(network)
    }
}

/// Says once that flags have no effect, and why.
pub fn without_effect(flags: &[&str], why: &str, progress: &Progress) {
    if !flags.is_empty() {
        let verb = if flags.len() == 1 { "has" } else { "have" };
        progress.note(&format!("{} {verb} no effect: {why}", flags.join(", ")));
    }
}
