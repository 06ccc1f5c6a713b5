//! Flags of `var-model speed`.

use std::iter;
use std::path::PathBuf;

use clap::Args;
use var_model::commands::speed::{SpeedRequest, Subject, speed};
use var_model::sampling::{SamplingOptions, ScaleRange};
use var_model::{Error, Order};

use super::{ModelArgs, ShowArgs};

#[derive(Args)]
#[command(after_help = "Examples:
  var-model speed                                              the built-in model
  var-model speed --run runs/small --batch 1,16
  var-model speed --run runs/small --also runs/large           two models, in turn
  var-model speed --depth 16 --batch 1,8,64 --precision bf16   both orders, untrained
  var-model speed --depth 16 --order next-scale --guide-scales 1-8 --no-decoder --batch 1
The share of the bound compares the time of the transformer with what the machine needs at least: for the products at
the speed of a large one, or for reading weights, keys and values. Both peaks are measured in the same run.")]
pub struct Speed {
    #[command(flatten)]
    model: ModelArgs,
    /// Time the published size with this number of blocks instead, with weights that were not trained
    #[arg(long, conflicts_with_all = ["run", "model"])]
    depth: Option<usize>,
    /// Another run folder to time in turn with the model; can be repeated
    #[arg(long, value_name = "DIR", conflicts_with = "depth")]
    also: Vec<PathBuf>,
    /// Orders of generation to time with --depth: next-scale, raster or both
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "depth", default_values = ["next-scale", "raster"])]
    order: Vec<Order>,
    /// Numbers of images at once
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [1, 8])]
    batch: Vec<usize>,
    /// Guidance strength at the last step; 0: no guidance, which halves the work
    #[arg(long, default_value_t = 1.5)]
    cfg: f64,
    /// Guide only these scales, counted from 1
    #[arg(long, value_name = "FROM-TO")]
    guide_scales: Option<ScaleRange>,
    /// Do not decode images
    #[arg(long)]
    no_decoder: bool,
    /// How often each case is timed; the median counts
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[command(flatten)]
    show: ShowArgs,
}

impl Speed {
    pub fn run(self) -> Result<(), Error> {
        let mut progress = self.show.progress();
        let subjects = match self.depth {
            Some(depth) => self.order.iter().map(|&order| Subject::Published { depth, order }).collect(),
            None => iter::once(Subject::Given).chain(self.also.into_iter().map(Subject::Run)).collect(),
        };
        let request = SpeedRequest {
            subjects,
            source: self.model.into(),
            batches: self.batch,
            options: SamplingOptions {
                cfg: self.cfg,
                guided_scales: self.guide_scales,
                ..SamplingOptions::default()
            },
            decode: !self.no_decoder,
            rounds: self.rounds,
        };
        speed(&request, self.show.json, &mut progress).map(drop)
    }
}
