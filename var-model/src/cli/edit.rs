//! Flags of `var-model edit`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use serde_json::json;
use var_model::Error;
use var_model::commands::edit::{self, AreaRequest, EditRequest, MOST_VARIANTS, MOST_ZOOM};
use var_model::edit::FractionBox;
use var_model::sampling::SamplingOptions;
use var_tokenizer::command_line::Given;

use super::{ModelArgs, ShowArgs, up_to};

#[derive(Args)]
#[command(group = ArgGroup::new("area").args(["mask", "bounds"]).required(true))]
#[command(group = ArgGroup::new("places").args(["out", "strip"]).required(true).multiple(true))]
#[command(after_help = "Examples:
  var-model edit --run runs/small --image photo.jpg --mask mask.png --out edited.png
  var-model edit --run runs/small --image photo.jpg --box 0.25,0.25,0.75,0.75 --variants 8 --strip strip.png
  var-model edit --run runs/small --image photo.jpg --box 0.2,0.2,0.8,0.8 --outpaint --out wide.png
  var-model edit --run runs/small --image cat.png --box 0,0.5,1,1 --class flags --seed 3 --out flag.png
White in a mask is generated, and so is what is transparent. A photo of another size than the model's is
edited in a square around what is generated, and only that changes.")]
pub struct Edit {
    #[command(flatten)]
    model: ModelArgs,
    /// Photo of any size: PNG, JPEG, WebP, BMP, GIF, TIFF or PNM
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// Image that is white where the photo is to be generated
    #[arg(long, value_name = "FILE")]
    mask: Option<PathBuf>,
    /// Generate what is black in the mask
    #[arg(long, conflicts_with = "bounds")]
    invert_mask: bool,
    /// Generate a box of the photo: top, left, bottom, right in fractions, e.g. 0.25,0.25,0.75,0.75
    #[arg(long = "box", id = "bounds", value_name = "Y0,X0,Y1,X1", allow_hyphen_values = true)]
    bounds: Option<FractionBox>,
    /// Generate what lies outside the box
    #[arg(long, conflicts_with = "mask")]
    outpaint: bool,
    /// Class of what is generated, by number or name [default: no class]; id:7 is always the number, name:7 the name
    #[arg(long, allow_hyphen_values = true)]
    class: Option<String>,
    /// Guidance at the last scale; 0 switches it off
    #[arg(long, default_value_t = 3.0)]
    cfg: f64,
    /// Draw among this many codes; 0: all
    #[arg(long, default_value_t = 900)]
    top_k: usize,
    /// Draw among the codes that together reach this probability; 0: all
    #[arg(long, default_value_t = 0.95)]
    top_p: f64,
    /// Draw codes one by one instead of mixing them by a Gumbel softmax
    #[arg(long)]
    no_more_smooth: bool,
    /// What logits are divided by: below 1 safer, above 1 wilder
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Seed; each variant depends on it and on its own number alone
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many results
    #[arg(long, default_value_t = 1, value_parser = up_to(MOST_VARIANTS))]
    variants: usize,
    /// Put what is generated into the photo, whose other pixels stay as they are (default unless the photo
    /// has the model's size)
    #[arg(long, conflicts_with = "no_blend")]
    blend: bool,
    /// Write what the decoder gives, where kept parts are reconstructions
    #[arg(long)]
    no_blend: bool,
    /// Pixels over which the border is soft; 0: hard (default: a thirty-second part of the edited square);
    /// implies --blend
    #[arg(long, value_name = "PIXELS", conflicts_with = "no_blend")]
    feather: Option<u32>,
    /// Result (PNG); several are numbered: edited-0.png, edited-1.png …
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Photo, what is generated of it, and all results in one row (PNG)
    #[arg(long, value_name = "FILE")]
    strip: Option<PathBuf>,
    /// Enlarge the strip so many times
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
            _ => return Err(Error::Config("give either --mask or --box: what is to be generated".into())),
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
