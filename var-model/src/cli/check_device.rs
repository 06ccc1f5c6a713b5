//! Flags of `var-model check-device`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use var_model::Error;
use var_model::commands::check_device::{DeviceRequest, check_device};
use var_tokenizer::torch::DeviceChoice;

#[derive(Args)]
#[command(
    after_help = "What matters most comes first: golden cases, products, a training step and sampling of d16, then other sizes,
attention, and collectives with one rank (var-train check-ranks). On a CPU the sizes are small. A step that fails does not
stop the others. Exit status: 1 if one failed.

Examples:
  var-model check-device
  var-model check-device --device cuda --minutes 8 --json device.json"
)]
pub struct CheckDevice {
    /// Device: auto, cpu, cuda or cuda:N
    #[arg(long, default_value_t = DeviceChoice::Auto)]
    device: DeviceChoice,
    /// Time after which no other step starts
    #[arg(long, value_name = "MINUTES", default_value_t = 8.0)]
    minutes: f64,
    /// Folder with golden cases [default: that of the archive or of the clone]
    #[arg(long, value_name = "DIR")]
    golden: Option<PathBuf>,
    /// Also write the results to this file, after every step
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl CheckDevice {
    pub fn run(self) -> Result<(), Error> {
        let limit = Duration::try_from_secs_f64(60.0 * self.minutes).map_err(|_| {
            Error::Config(format!("--minutes {}: expected a time of 0 or more", self.minutes))
        })?;
        let request = DeviceRequest { device: self.device, limit, golden: self.golden, out: self.json };
        if check_device(&request)? {
            Ok(())
        } else {
            Err(Error::Check("a step failed; see the table above".into()))
        }
    }
}
