//! Flags of `var-model sample`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};
use serde_json::json;
use var_model::Error;
use var_model::commands::sample::{self, MOST_AT_ONCE, MOST_PICTURES, SampleRequest, SmallRequest};
use var_model::outputs::Target;
use var_model::outputs::scales::ScalesFile;
use var_model::rejection::{MOST_SIZE, RejectionRequest, SIZE};
use var_model::sampling::{Guidance, SamplingOptions, ScaleRange, Temperature};
use var_tokenizer::command_line::Given;
use var_tokenizer::signals;
use var_tokenizer::torch::module::{Channels, IMAGENET_DEVIATION, IMAGENET_MEAN};

use super::{ModelArgs, ShowArgs, up_to};

#[derive(Args)]
#[command(after_help = "Examples:
  var-model sample --out grid.png
  var-model sample --run runs/small --out grid.png
  var-model sample --run runs/small --classes 0-4,food-drink,none --per-class 8 --cfg 3 --seed 7 \\
      --out grid.png
  var-model sample --model d16.safetensors --tokenizer t.safetensors \\
      --classes 'tiger shark,goldfish' --out grid.png
  var-model sample --run runs/d16 --classes all --per-class 50 --out samples.npz --out samples/ \\
      --dry-run
  var-model sample --run runs/d16 --classes all --per-class 50 --out samples.npz --resume
  var-model sample --per-class 1 --show-scales scales.png --show-scales scales.gif
  var-model sample --model d16.pth --tokenizer vae.pth --guide-scales 1-8 --out grid.png
  var-model sample --run runs/d30 --small-model runs/d16 --large-scales 8 --out grid.png
  var-model sample --run runs/d30 --classes all --per-class 50 --keep 0.5 --classifier resnet.pt \\
      --out re.npz")]
pub struct Sample {
    #[command(flatten)]
    model: ModelArgs,
    /// Classes: a comma-separated list of numbers, ranges (0-9), names, `all` or `none`. Write id:7 for the number 7
    /// and name:7 for the name 7 if both exist [default: the first 10]
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    classes: Vec<String>,
    /// Images of each class
    #[arg(long, default_value_t = 8, value_parser = up_to(MOST_PICTURES))]
    per_class: usize,
    /// Guidance strength at the last scale; 0: no guidance
    #[arg(long, default_value_t = 1.5)]
    cfg: f64,
    /// Guidance over the scales: a ramp from 0 at the first scale, or constant
    #[arg(long, default_value = "ramp", value_parser = ["ramp", "constant"])]
    guidance: String,
    /// Guide only these scales, counted from 1; later scales take half the work (default: all)
    #[arg(long, value_name = "FROM-TO")]
    guide_scales: Option<ScaleRange>,
    /// Sampling temperature: below 1, likely codes are drawn more often. One number, or one per scale: 1.1,1.1,…
    #[arg(long, default_value = "1", value_name = "NUMBERS", allow_hyphen_values = true)]
    temperature: Temperature,
    /// Smaller model (run folder or model file) that continues after --large-scales
    #[arg(long, value_name = "PATH", requires = "large_scales")]
    small_model: Option<PathBuf>,
    /// Number of scales that the model itself samples before the smaller one continues
    #[arg(long, value_name = "N", requires = "small_model")]
    large_scales: Option<usize>,
    /// Draw from the TOP_K most likely codes; 0: from all
    #[arg(long, default_value_t = 900)]
    top_k: usize,
    /// Draw from the most likely codes that together have this probability; 0: from all
    #[arg(long, default_value_t = 0.96)]
    top_p: f64,
    /// Mix codes with a Gumbel softmax: smoother images. Do not use it for scores
    #[arg(long)]
    more_smooth: bool,
    /// Seed. Each image depends only on the seed and on its own number
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Images sampled together
    #[arg(long, default_value_t = 16, value_parser = up_to(MOST_AT_ONCE))]
    batch: usize,
    /// Where to write the images: one grid (.png), an archive for evaluators (.npz), or a folder of PNGs (any other
    /// name). You can repeat this option
    #[arg(long, value_name = "PLACE", required_unless_present = "show_scales", value_parser = PathBufValueParser::new().try_map(Target::of))]
    out: Vec<Target>,
    /// Continue an interrupted call with the same --out
    #[arg(long)]
    resume: bool,
    /// Show the first 8 images after each scale: a strip (.png) or an animation (.gif, .apng). You can repeat this
    /// option
    #[arg(long, value_name = "FILE", value_parser = PathBufValueParser::new().try_map(ScalesFile::of))]
    show_scales: Vec<ScalesFile>,
    /// Rejection sampling: sample more candidates, and keep this share of them, which the classifier finds most
    /// probable
    #[arg(long, value_name = "SHARE", requires = "classifier")]
    keep: Option<f64>,
    /// TorchScript file of the classifier for --keep. It takes normalised images and returns logits
    #[arg(long, value_name = "FILE", requires = "keep")]
    classifier: Option<PathBuf>,
    /// Side of the images for the classifier, which are resized to it
    #[arg(long, value_name = "PIXELS", requires = "keep", default_value_t = SIZE, value_parser = up_to(MOST_SIZE))]
    classifier_size: usize,
    /// Mean of the channels for the classifier (default: ImageNet's)
    #[arg(long, value_name = "R,G,B", requires = "keep", allow_hyphen_values = true)]
    classifier_mean: Option<Channels>,
    /// Standard deviation of the channels for the classifier (default: ImageNet's)
    #[arg(long, value_name = "R,G,B", requires = "keep", allow_hyphen_values = true)]
    classifier_std: Option<Channels>,
    /// Print the plan, with the memory and disk space that it needs, and sample nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    show: ShowArgs,
}

impl Sample {
    pub fn run(self, given: Given) -> Result<(), Error> {
        let mut progress = self.show.progress();
        let (as_json, dry_run) = (self.show.json, self.dry_run);
        let request = self.request(given);
        if dry_run {
            return sample::dry_run(request, as_json);
        }
        let summary = sample::sample(request, signals::stop()?, &mut progress)?;
        if !summary.complete {
            let (places, rate) = (summary.outputs.join(", "), summary.images_per_second);
            progress.note(&format!("wrote {places} ({} images, {rate:.1} per second)", summary.pictures));
        }
        progress.event(&json!(summary));
        Ok(())
    }

    fn request(self, given: Given) -> SampleRequest {
        let rejection = self.keep.zip(self.classifier).map(|(keep, classifier)| RejectionRequest {
            keep,
            classifier,
            size: self.classifier_size,
            mean: self.classifier_mean.map_or(IMAGENET_MEAN, |t| t.0),
            deviation: self.classifier_std.map_or(IMAGENET_DEVIATION, |t| t.0),
        });
        SampleRequest {
            source: self.model.into(),
            classes: self.classes,
            per_class: self.per_class,
            options: SamplingOptions {
                cfg: self.cfg,
                guidance: if self.guidance == "constant" { Guidance::Constant } else { Guidance::Ramp },
                temperature: self.temperature,
                guided_scales: self.guide_scales,
                top_k: self.top_k,
                top_p: self.top_p,
                more_smooth: self.more_smooth,
            },
            small: self
                .small_model
                .zip(self.large_scales)
                .map(|(model, large_scales)| SmallRequest { model, large_scales }),
            seed: self.seed,
            batch: self.batch,
            out: self.out,
            show_scales: self.show_scales,
            rejection,
            resume: self.resume,
            given,
        }
    }
}
