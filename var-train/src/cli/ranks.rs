//! Flags about ranks, and `var-train check-ranks`.

use std::time::Duration;

use clap::Args;
use tch::Device;
use var_tokenizer::progress::say;
use var_tokenizer::torch::{DeviceChoice, guarded};
use var_train::distributed::{Place, Ranks, check, device_of, launch};
use var_train::{Error, Result};

use super::say_json;

/// The warning about `--zero` without other ranks.
pub const ZERO_ALONE: &str =
    "--zero is ignored: the run has one rank, and nothing to divide the moments over";

#[derive(Args)]
pub struct RankArgs {
    /// Number of processes on this machine, with CUDA one GPU each; 1 ignores the environment of torchrun and SLURM
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    nproc: Option<u32>,
    /// Seconds to wait for a rank before it counts as lost
    #[arg(long, value_name = "SECONDS", default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    timeout: u64,
}

impl RankArgs {
    /// The place of this process among the ranks, and the number of ranks of the run.
    pub fn place(&self) -> Result<(Option<Place>, usize)> {
        place(self.nproc)
    }

    /// Time after which a rank that does not answer is lost.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}

/// The place of this process among the ranks, and their number. A launcher has no place and several ranks.
fn place(nproc: Option<u32>) -> Result<(Option<Place>, usize)> {
    if !launch::is_launched()? {
        match nproc.map(|n| n as usize) {
            Some(1) => return Ok((None, 1)),
            Some(n) if std::env::var_os("RANK").is_some() => {
                return Err(Error::config(format!(
                    "--nproc {n} starts ranks, but this process is already a rank (RANK is set); omit --nproc"
                )));
            }
            Some(n) => return Ok((None, n)),
            None => {}
        }
    }
    let place = Place::from_environment()?;
    let ranks = place.as_ref().map_or(1, |place| place.world);
    Ok((place, ranks))
}

#[derive(Args)]
#[command(after_help = "Examples:
  var-train check-ranks --nproc 4
  var-train check-ranks --device cuda            (NCCL, also with one GPU)
  srun var-train check-ranks")]
pub struct CheckRanks {
    #[command(flatten)]
    ranks: RankArgs,
    /// Device: cpu (Gloo), cuda (NCCL), cuda:N or auto; every rank of a machine takes its own GPU
    #[arg(long, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu)]
    device: DeviceChoice,
    /// Print what every rank found as JSON lines on standard output
    #[arg(long)]
    json: bool,
}

impl CheckRanks {
    /// Starts the ranks, or checks as one of them; gives the exit status.
    pub fn run(&self) -> Result<u8> {
        let (place, count) = self.ranks.place()?;
        if place.is_none() && count > 1 {
            return launch::launch(count);
        }
        // A process on its own is a group of one: the collectives of its device still run.
        let place = place.unwrap_or_else(Place::alone);
        let device = device_of(self.device, Some(&place))?;
        let ranks = Ranks::join(Some(&place), "check-ranks", device, self.ranks.timeout())?;
        let outcome = guarded(|| self.check(ranks, device));
        ranks.leave(&outcome);
        outcome.map(|()| 0)
    }

    fn check(&self, ranks: Ranks, device: Device) -> Result<()> {
        let found = check::check(ranks, device)?;
        if self.json {
            say_json(&found)?;
        } else if ranks.leads() {
            say(format_args!(
                "{} on {}: collectives and averaged gradients are right; summed 16 MB in {:.1} ms",
                if ranks.size() == 1 { "one rank".to_owned() } else { format!("{} ranks", ranks.size()) },
                if device == Device::Cpu { "the CPU (Gloo)" } else { "CUDA (NCCL)" },
                found.all_reduce_seconds * 1e3
            ))?;
        }
        Ok(())
    }
}
