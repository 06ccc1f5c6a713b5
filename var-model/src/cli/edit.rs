//! Flags of `var-model edit`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde_json::json;
use var_model::Error;
use var_model::commands::edit::{self, AreaRequest, EditRequest, MOST_VARIANTS, MOST_ZOOM};
use var_model::edit::FractionBox;
use var_model::sampling::{SamplingOptions, Temperature};
use var_tokenizer::command_line::Given;

use super::{ModelArgs, ShowArgs, up_to};

#[derive(Args)]
#[command(group = ArgGroup::new("area").args(["mask", "bounds"]).required(true))]
#[command(group = ArgGroup::new("places").args(["out", "strip"]).required(true).multiple(true))]
#[command(after_help = "Examples:
  var-model edit --run runs/small --image photo.jpg --mask mask.png --out edited.png
  var-model edit --image photo.jpg --box 0.25,0.25,0.75,0.75 --variants 8 --strip strip.png
  var-model edit --run runs/small --image photo.jpg --box 0.2,0.2,0.8,0.8 --outpaint --out wide.png
  var-model edit --image flag.png --box 0,0.5,1,1 --class flags --seed 3 --out edited.png
If the photo has another size than the model's images, the model sees a square around the generated area.
Pixels outside that area do not change.")]
pub struct Edit {
    #[command(flatten)]
    model: ModelArgs,
    /// Photo of any size: PNG, JPEG, WebP, BMP, GIF, TIFF or PNM
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Mask image: white and transparent pixels are generated, black pixels are kept
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// Generate the black pixels of the mask instead
    #[arg(long, conflicts_with = "bounds")]
    invert_mask: bool,
    /// Generate a box: its top, left, bottom and right edges as fractions of the photo, e.g. 0.25,0.25,0.75,0.75
    #[arg(long = "box", id = "bounds", value_name = "Y0,X0,Y1,X1", allow_hyphen_values = true)]
    bounds: Option<FractionBox>,
    /// Generate the outside of the box instead
    #[arg(long, conflicts_with = "mask")]
    outpaint: bool,
    /// Class of the generated content: a number or a name. Write id:7 for the number 7 and name:7 for the name 7 if
    /// both exist [default: no class]
    #[arg(long, allow_hyphen_values = true)]
    class: Option<String>,
    /// Guidance strength at the last scale; 0: no guidance
    #[arg(long, default_value_t = 3.0)]
    cfg: f64,
    /// Draw from the TOP_K most likely codes; 0: from all
    #[arg(long, default_value_t = 900)]
    top_k: usize,
    /// Draw from the most likely codes that together have this probability; 0: from all
    #[arg(long, default_value_t = 0.95)]
    top_p: f64,
    /// Draw single codes instead of mixing codes with a Gumbel softmax
    #[arg(long)]
    no_more_smooth: bool,
    /// Sampling temperature: below 1, likely codes are drawn more often. One number, or one per scale: 1.1,1.1,…
    #[arg(long, default_value = "1", value_name = "NUMBERS", allow_hyphen_values = true)]
    temperature: Temperature,
    /// Seed. Each variant depends only on the seed and on its own number
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of results
    #[arg(long, default_value_t = 1, value_parser = up_to(MOST_VARIANTS))]
    variants: usize,
    /// Put the generated pixels into the photo and keep its other pixels exactly (default, unless the photo has the
    /// size of the model's images)
    #[arg(long, conflicts_with = "no_blend")]
    blend: bool,
    /// Write the output of the decoder, in which the kept parts are reconstructions
    #[arg(long)]
    no_blend: bool,
    /// Width of the soft border in pixels; 0: a hard border. Implies --blend (default: 1/32 of the edited square)
    #[arg(long, value_name = "PIXELS", conflicts_with = "no_blend")]
    feather: Option<u32>,
    /// Where to write the result (PNG). Several results get numbers: edited-0.png, edited-1.png …
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Write one row with the photo, the generated area and all results (PNG)
    #[arg(long, value_name = "FILE")]
    strip: Option<PathBuf>,
    /// Enlarge the strip by this factor
    #[arg(long, default_value_t = 1, value_name = "TIMES", requires = "strip", value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_ZOOM)))]
    strip_zoom: u32,
    #[command(flatten)]
    show: ShowArgs,
}

impl Edit {
    pub fn run(self, given: Given) -> Result<(), Error> {
        let mut progress = self.show.progress();
        let area = match (self.bounds, self.mask) {
            (Some(bounds), None) => AreaRequest::Box { bounds, outpaint: self.outpaint },
            (None, Some(path)) => AreaRequest::Mask { path, invert: self.invert_mask },
            _ => return Err(Error::Config("give either --mask or --box: the area to generate".into())),
        };
        let options = SamplingOptions {
            cfg: self.cfg,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            more_smooth: !self.no_more_smooth,
            ..SamplingOptions::default()
        };
        let request = EditRequest {
            source: self.model.into(),
            image: self.image,
            area,
            class: self.class,
            options,
            seed: self.seed,
            variants: self.variants,
            blend: (self.blend || self.no_blend).then_some(self.blend),
            feather: self.feather,
            out: self.out,
            strip: self.strip,
            strip_zoom: self.strip_zoom,
            given,
        };
        let summary = edit::edit(&request, &mut progress)?;
        let (count, seconds) = (summary.pictures, summary.seconds);
        if let Some(file) = summary.written() {
            progress.note(&format!("wrote {} ({count} images, {seconds:.1} s)", file.display()));
        }
        progress.event(&json!(summary));
        Ok(())
    }
}
