//! `var-eval stats`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use var_eval::features::earlier::with_earlier;
use var_eval::inputs::set::{PictureSet, Selection};
use var_eval::statistics::file;
use var_eval::{Error, Result};
use var_tokenizer::files::check_place;
use var_tokenizer::h5::check::check_in_child;
use var_tokenizer::signals;

use super::ShowArgs;
use super::extraction::{ExtractionArgs, Part, note_selection};
use super::network::NetworkArgs;
use super::pixels::PixelArgs;

#[derive(Args)]
#[command(
    after_help = "An .h5 holds features and statistics. An .npz holds mu and sigma as pytorch-fid writes them; with --adm \
also mu_s and sigma_s of the spatial features. While an .npz is computed, its features are in FILE.features.h5. Exit \
status: 2 for bad input, 3 when interrupted; run the same command to resume.

Examples:
  var-eval stats --source val/ --out val.h5
  var-eval stats --source emoji --split train --out emoji-train.h5
  var-eval stats --source val/ --network inception-fid --weights pt_inception.pth --adm \\
      --out val.npz"
)]
pub struct StatsArgs {
    /// Images: class folders, a tar, WebDataset or Parquet shards, a text list, an npz, CIFAR binaries, or `emoji`
    #[arg(long, value_name = "PATH")]
    source: PathBuf,
    /// File to write, .h5 or .npz
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Write the statistics of the spatial features too, as ADM's evaluator reads them; only for an .npz
    #[arg(long)]
    adm: bool,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    pixels: PixelArgs,
    /// Classes by name, number or range, separated by commas [default: all]; id:7 is always a number,
    /// name:7 a name
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    classes: Vec<String>,
    /// Part of the data set
    #[arg(long, default_value = "all", value_name = "PART")]
    split: Part,
    /// Maximum number of images, selected at random but always the same; 0: all
    #[arg(long, default_value_t = 0, value_name = "N")]
    limit: usize,
    #[command(flatten)]
    extraction: ExtractionArgs,
    #[command(flatten)]
    show: ShowArgs,
}

impl StatsArgs {
    pub fn run(self) -> Result<()> {
        check_place(&self.out)?;
        check_in_child(&self.source)?;
        let mut progress = self.show.progress();
        let ending = self.out.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        let as_npz = match ending {
            "h5" => false,
            "npz" => true,
            _ => {
                let message = format!(
                    "--out {}: unknown file type; name a file that ends in .h5 or .npz",
                    self.out.display()
                );
                return Err(Error::config(message));
            }
        };
        if self.adm && !as_npz {
            return Err(Error::config("--adm is for an .npz file; an .h5 file always has all statistics"));
        }
        let stop = signals::stop()?;
        let selection =
            Selection { classes: self.classes.clone(), split: self.split.split(), limit: self.limit };
        let mut features = self.out.clone().into_os_string();
        if as_npz {
            features.push(".features.h5");
        }
        let out = PathBuf::from(features);
        let rule = self.pixels.rule()?;
        let pictures = PictureSet::open(&self.source, &selection, rule)
            .map_err(|e| with_earlier(e, &self.source, std::slice::from_ref(&out)))?;
        let asked = (self.pixels.asked()?, self.limit);
        note_selection(&pictures, asked, ["--pixels", "--limit"], &progress);
        if as_npz && pictures.len() < 2 {
            return Err(Error::file(&self.source, "holds one image; statistics need at least two"));
        }
        let network = self.network.open(&progress)?;
        if self.adm && network.identity().spatial == 0 {
            let name = &network.identity().network;
            return Err(Error::config(format!("--adm: network {name} has no spatial features")));
        }
        let found = self.extraction.run(pictures, out, network.as_ref(), &stop, &mut progress)?;
        if as_npz {
            let spatial = if self.adm { found.spatial_statistics()? } else { None };
            let pixels = found.info().pixels;
            file::write(&self.out, network.identity(), pixels, &found.statistics()?, spatial.as_ref())?;
            let path = found.path().to_owned();
            drop(found);
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, e))?;
            progress.note(&format!("wrote {}", self.out.display()));
            return self.show.result(&json!({"event": "done", "out": self.out.display().to_string()}));
        }
        progress.note(&format!("wrote {}: {} images", self.out.display(), found.len()));
        self.show.result(&json!({
            "event": "done", "pictures": found.len(), "bad": found.bad(), "out": self.out.display().to_string(),
        }))
    }
}
