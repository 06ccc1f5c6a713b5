//! `var-eval sweep-plot`.

use std::path::PathBuf;

use clap::Args;
use var_eval::{Result, sweep_plot};

#[derive(Args)]
#[command(
    after_help = "Each folder holds a metrics.json of `var-eval score --out`. The setting is one of the sampler's: cfg, top_k, \
top_p, temperature.

Examples:
  var-eval sweep-plot --setting cfg --out sweep.svg scores/cfg-1 scores/cfg-1.5 scores/cfg-2"
)]
pub struct SweepPlot {
    /// Setting along the horizontal axis
    #[arg(long, value_name = "NAME")]
    setting: String,
    /// Metric along the vertical axis
    #[arg(long, default_value = "fd", value_name = "NAME")]
    metric: String,
    /// Plot to write (.svg)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Folders with a metrics.json
    #[arg(required = true)]
    folders: Vec<PathBuf>,
}

impl SweepPlot {
    pub fn run(self) -> Result<()> {
        let points = sweep_plot::read(&self.folders, &self.setting, &self.metric)?;
        sweep_plot::write(&self.out, &self.setting, &points)
    }
}
