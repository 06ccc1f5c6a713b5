//! Flags that say where and how the programs of a sweep run.

use std::path::PathBuf;

use clap::Args;
use var_scaling::error::{Error, Result};
use var_scaling::sweep::LaunchOptions;

/// Maximum number of trainings at a time, and of new starts.
const MOST: u64 = 1000;

#[derive(Args)]
pub struct LaunchArgs {
    /// Number of trainings at a time: they share the cores, or each takes a GPU; the longest starts first [default: 1;
    /// with --slurm all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST))]
    jobs: Option<u64>,
    /// Number of times that a training starts again after it was killed, lost a rank, or was stopped early
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=MOST))]
    retries: u64,
    /// Command in front of `var-train`, for example "torchrun --no-python --nproc-per-node 8" [default: none; with --slurm
    /// "srun --kill-on-bad-exit=0"]
    #[arg(long, value_name = "COMMAND")]
    prefix: Option<String>,
    /// Submit every program to SLURM: FILE has the #SBATCH lines and the commands that start each script
    #[arg(long, value_name = "FILE")]
    slurm: Option<PathBuf>,
    /// Write the scripts for SLURM, and submit none
    #[arg(long, requires = "slurm")]
    pub render_only: bool,
}

impl LaunchArgs {
    /// The options that these flags ask for.
    pub fn options(&self) -> Result<LaunchOptions> {
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let prefix = match &self.prefix {
            Some(text) => shlex::split(text).filter(|words| !words.is_empty()).ok_or_else(|| {
                Error::config(format!("--prefix \"{text}\": expected a command, with closed quotes"))
            })?,
            None => Vec::new(),
        };
        Ok(LaunchOptions {
            jobs: count(self.jobs.unwrap_or(0)),
            retries: count(self.retries),
            prefix,
            slurm: self.slurm.clone(),
        })
    }
}
