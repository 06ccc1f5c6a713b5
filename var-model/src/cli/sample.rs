//! Flags of `var-model sample`.

use std::path::PathBuf;

use clap::Args;
use var_model::Error;
use var_model::commands::sample::{self, MOST_AT_ONCE, MOST_PICTURES, SampleRequest};
use var_model::sampling::SamplingOptions;

use super::{ModelArgs, ShowArgs, up_to};

#[derive(Args)]
#[command(after_help = "Examples:
  var-model sample --run runs/small --out grid.png
  var-model sample --run runs/small --classes 0,3,food-drink --per-class 8 --cfg 3 --seed 7 --out grid.png
  var-model sample --model model.safetensors --tokenizer tokenizer.safetensors --out grid.png")]
pub struct Sample {
    #[command(flatten)]
    model: ModelArgs,
    /// Classes by number or name, comma-separated (default: the first 8)
    #[arg(long, value_delimiter = ',')]
    classes: Vec<String>,
    /// Pictures a class
    #[arg(long, default_value_t = 8, value_parser = up_to(MOST_PICTURES))]
    per_class: usize,
    /// Guidance at the last scale; 0 switches it off
    #[arg(long, default_value_t = 1.5)]
    cfg: f64,
    /// Draw among this many codes; 0: all
    #[arg(long, default_value_t = 900)]
    top_k: usize,
    /// Draw among the codes that together reach this probability; 0: all
    #[arg(long, default_value_t = 0.96)]
    top_p: f64,
    /// Mix codes by a Gumbel softmax: smoother pictures, not for scores
    #[arg(long)]
    more_smooth: bool,
    /// Seed; each picture depends on it and on its own number alone
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures sampled at once
    #[arg(long, default_value_t = 16, value_parser = up_to(MOST_AT_ONCE))]
    batch: usize,
    /// Grid file (PNG)
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    show: ShowArgs,
}

impl Sample {
    pub fn run(self) -> Result<(), Error> {
        let mut progress = self.show.progress();
        let options = SamplingOptions {
            cfg: self.cfg,
            top_k: self.top_k,
            top_p: self.top_p,
            more_smooth: self.more_smooth,
            ..SamplingOptions::default()
        };
        let request = SampleRequest {
            source: self.model.into(),
            classes: self.classes,
            per_class: self.per_class,
            options,
            seed: self.seed,
            batch: self.batch,
            out: self.out,
        };
        let summary = sample::sample(&request, &mut progress)?;
        progress.note(&format!(
            "wrote {} ({} pictures, {:.1} a second)",
            request.out.display(),
            summary["pictures"],
            summary["images_per_second"].as_f64().unwrap_or(0.0)
        ));
        progress.event(&summary);
        Ok(())
    }
}
