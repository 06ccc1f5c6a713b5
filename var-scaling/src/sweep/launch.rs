//! Where programs run: as children of this process, or as jobs of SLURM.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::call::Call;
use super::child::{Child, Ending};
use super::slurm::{Slurm, SlurmJob};
use super::stop::Stop;
use crate::error::{Error, Result};

/// How the programs of a sweep start.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LaunchOptions {
    /// Number of trainings that run at a time and share cores and GPUs; 0 counts as 1. With SLURM, the number of jobs in
    /// its queue; 0: all.
    pub jobs: usize,
    /// Number of times that a training starts again after it was killed, lost a rank, or stopped early.
    pub retries: usize,
    /// Words in front of `var-train`, for example `torchrun --no-python --nproc-per-node 8`.
    pub prefix: Vec<String>,
    /// Submits the programs to SLURM, instead of running them here: a file whose `#SBATCH` lines and commands start every
    /// script.
    pub slurm: Option<PathBuf>,
}

impl LaunchOptions {
    /// Checks that the options agree with each other and with the device.
    pub(super) fn check(&self, device: Option<&str>) -> Result<()> {
        match device {
            Some(device) if self.jobs > 1 && self.slurm.is_none() && device.starts_with("cuda:") => {
                Err(Error::config(format!(
                    "{} trainings at a time take a GPU each, but {device} is one GPU; use cuda, and choose GPUs with \
                     CUDA_VISIBLE_DEVICES",
                    self.jobs
                )))
            }
            _ => Ok(()),
        }
    }

    /// Number of trainings at a time, of `runs` in all.
    pub(super) fn slots(&self, runs: usize) -> usize {
        if self.slurm.is_some() && self.jobs == 0 { runs.max(1) } else { self.jobs.max(1) }
    }
}

/// Starts programs.
#[derive(Debug)]
pub(super) struct Starter {
    prefix: Vec<String>,
    slurm: Option<Slurm>,
}

impl Starter {
    /// A starter for the sweep in `root`.
    pub(super) fn new(options: &LaunchOptions, root: &Path) -> Result<Self> {
        let slurm = options.slurm.as_ref().map(|file| Slurm::new(file, &options.prefix, root)).transpose()?;
        Ok(Self { prefix: options.prefix.clone(), slurm })
    }

    /// Whether SLURM runs the programs.
    pub(super) fn queues(&self) -> bool {
        self.slurm.is_some()
    }

    /// Writes the batch script of a program. Returns its path.
    pub(super) fn render(&self, call: &Call) -> Result<PathBuf> {
        let none = || Error::config("scripts are for SLURM; give the start of a batch script");
        self.slurm.as_ref().ok_or_else(none)?.render(call)
    }

    /// Starts a program, with more variables of the environment if it runs here.
    pub(super) fn start(&self, call: &Call, environment: &[(&str, String)], stop: &Stop) -> Result<Running> {
        if let Some(slurm) = &self.slurm {
            return Ok(Running::Queued(Box::new(slurm.submit(call, stop)?)));
        }
        let child = match (self.prefix.split_first(), &call.run) {
            (Some((first, rest)), Some(_)) => {
                let mut arguments = rest.to_vec();
                arguments.push(call.program.display().to_string());
                arguments.extend(call.arguments.iter().cloned());
                Child::start(Path::new(first), &arguments, environment, &call.log)?
            }
            _ => Child::start(&call.program, &call.arguments, environment, &call.log)?,
        };
        Ok(Running::Here(Box::new(child)))
    }
}

/// A program that runs.
#[derive(Debug)]
pub(super) enum Running {
    Here(Box<Child>),
    Queued(Box<SlurmJob>),
}

impl Running {
    /// Passes on the new events, or none if there are none. Returns the ending after the last event.
    pub(super) fn poll(
        &mut self,
        stop: &Stop,
        on_event: &mut dyn FnMut(Option<&Value>),
    ) -> Result<Option<Ending>> {
        match self {
            Self::Here(child) => child.poll(stop, on_event),
            Self::Queued(job) => job.poll(stop, on_event),
        }
    }

    /// What the user should know when this program goes on after the sweep stops.
    pub(super) fn goes_on(&self) -> Option<String> {
        match self {
            Self::Here(_) => None,
            Self::Queued(job) => Some(job.goes_on()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_jobs_on_one_named_gpu_are_refused() {
        let jobs = |jobs| LaunchOptions { jobs, ..LaunchOptions::default() };
        let error = jobs(2).check(Some("cuda:1")).unwrap_err().to_string();
        assert!(error.contains("CUDA_VISIBLE_DEVICES"), "{error}");
        for (count, device) in [(1, Some("cuda:1")), (2, Some("cuda")), (2, Some("cpu")), (4, None)] {
            jobs(count).check(device).unwrap();
        }
    }
}
