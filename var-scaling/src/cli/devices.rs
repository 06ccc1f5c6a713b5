//! Flags of a plan for accelerators.

use clap::Args;
use var_scaling::devices::{Accelerator, Devices, MFU};
use var_scaling::error::{Error, Result};

#[derive(Args)]
pub struct DeviceArgs {
    /// Plan for this accelerator: a100, h100 or h200; only with --dry-run
    #[arg(long, value_name = "NAME", conflicts_with = "flops_rate")]
    accelerator: Option<Accelerator>,
    /// Number of accelerators [default: 1]
    #[arg(long, value_name = "N", requires = "accelerator")]
    ranks: Option<u64>,
    /// Share of the peak that trainings reach [default: 0.21, as the published d16]
    #[arg(long, value_name = "SHARE", requires = "accelerator")]
    mfu: Option<f64>,
    /// Memory of an accelerator, for example 40GB [default: that of the accelerator]
    #[arg(long, value_name = "SIZE", requires = "accelerator", value_parser = bytes)]
    device_memory: Option<f64>,
    /// Price of an hour of an accelerator, to print the cost
    #[arg(long, value_name = "PRICE", requires = "accelerator")]
    price: Option<f64>,
}

impl DeviceArgs {
    /// The devices, if one is named.
    pub fn devices(&self) -> Result<Option<Devices>> {
        let Some(accelerator) = self.accelerator else { return Ok(None) };
        let mfu = self.mfu.unwrap_or(MFU);
        if !(mfu > 0.0 && mfu <= 1.0) {
            return Err(Error::config(format!("--mfu {mfu}: expected a share above 0 and at most 1")));
        }
        if let Some(price) = self.price.filter(|price| !price.is_finite() || *price < 0.0) {
            return Err(Error::config(format!("--price {price}: expected 0 or more")));
        }
        let devices = Devices::new(accelerator, self.ranks.unwrap_or(1))?;
        let memory = self.device_memory.unwrap_or(devices.memory);
        Ok(Some(Devices { mfu, memory, price: self.price, ..devices }))
    }
}

/// `80GB`, `40GiB` or `141e9`, in bytes.
fn bytes(text: &str) -> std::result::Result<f64, String> {
    let units =
        [("GiB", 1024.0_f64.powi(3)), ("GB", 1e9), ("TB", 1e12), ("MiB", 1024.0 * 1024.0), ("MB", 1e6)];
    let of = |(unit, size): &(&str, f64)| text.strip_suffix(unit).map(|number| (number.trim(), *size));
    let (number, size) = units.iter().find_map(of).unwrap_or((text, 1.0));
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() && value > 0.0 => Ok(value * size),
        _ => Err("expected a size, for example 80GB".into()),
    }
}
