//! `var-eval reconstruction`.

use std::path::PathBuf;

use clap::Args;
use var_eval::metrics::lpips::Trunk;
use var_eval::metrics::ssim::Downsampling;
use var_eval::{Reconstruction, Result};
use var_tokenizer::progress::{Progress, Show, say};
use var_tokenizer::signals;

use super::network::{NetworkArgs, without_effect};
use super::pixels::PixelArgs;
use super::to_json;

#[derive(Args)]
#[command(
    after_help = "Partners have the same subfolder and the same file name without extension. LPIPS needs two files: the \
trunk (ImageNet weights of torchvision) and the heads (weights/v0.1 of the lpips package). Exit status: 2 if an image has \
no partner, another size, or cannot be read.

Examples:
  var-eval reconstruction --reference originals/ --samples reconstructions/
  var-eval reconstruction --reference originals/ --samples reconstructions/ --json > metrics.json
  var-eval reconstruction --reference originals/ --samples reconstructions/ --st-lpips alex,vgg
  var-eval reconstruction --reference originals/ --samples reconstructions/ --fd    also rFD
  var-eval reconstruction --reference originals/ --samples reconstructions/ --fd \\
      --network inception-fid --weights pt_inception.pth \\
      --lpips alex --lpips-weights alexnet.pth --lpips-heads alex.pth    rFID, LPIPS"
)]
pub struct ReconstructionArgs {
    /// Folder with the originals
    #[arg(long, value_name = "DIR")]
    reference: PathBuf,
    /// Folder with the reconstructions
    #[arg(long, value_name = "DIR")]
    samples: PathBuf,
    /// Average blocks before SSIM, so that the shorter side has about 256 pixels (the default of piq)
    #[arg(long)]
    downsample: bool,
    /// Add LPIPS, with the features of squeeze, alex or vgg
    #[arg(long, value_name = "TRUNK", requires_all = ["lpips_weights", "lpips_heads"])]
    lpips: Option<String>,
    /// File with the weights of the LPIPS trunk
    #[arg(long, value_name = "FILE", requires = "lpips")]
    lpips_weights: Option<PathBuf>,
    /// File with the LPIPS heads
    #[arg(long, value_name = "FILE", requires = "lpips")]
    lpips_heads: Option<PathBuf>,
    /// Add ST-LPIPS, with the features of alex or vgg; several names with commas. The weights are those that `cargo xtask
    /// setup --features` fetches, or NAME=FILE
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    st_lpips: Vec<String>,
    /// Add the Fréchet distance of both folders (rFID with --network inception-fid)
    #[arg(long)]
    fd: bool,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    pixels: PixelArgs,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

impl ReconstructionArgs {
    pub fn run(self) -> Result<()> {
        let mut progress = Progress::new(Show::from_flags(false, self.quiet || self.json));
        let device = self.lpips.is_some() || !self.st_lpips.is_empty();
        let unused = self.network.given().into_iter().filter(|&flag| !(device && flag == "--device"));
        if !self.fd {
            without_effect(&unused.collect::<Vec<_>>(), "only --fd takes a network", &progress);
        }
        let request = self.request()?;
        let opened = request.open()?;
        if self.fd {
            self.network.note_unused(&progress);
        }
        let pairs = opened.pairs(&mut progress)?;
        // The numbers of the pairs are printed, whatever happens to those of the sets.
        let (report, failure) = match opened.sets(&mut progress, &signals::stop()?) {
            Ok(None) => (pairs, None),
            Ok(Some(sets)) => {
                let failure = sets.failure();
                (pairs.with_sets(sets), failure)
            }
            Err(e) => (pairs, Some(e)),
        };
        if self.json {
            say(to_json(&report)?)?;
        } else {
            say(&report)?;
            if let Some(sets) = &report.sets {
                say(format_args!("\n{}", sets.markdown().trim_end()))?;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    fn request(&self) -> Result<Reconstruction> {
        let mut request = Reconstruction::of(&self.samples, &self.reference)
            .with_pixels(self.pixels.rule()?)
            .with_device(self.network.device());
        if self.downsample {
            request = request.with_downsampling(Downsampling::Blocks);
        }
        if self.fd {
            request = request.with_distance(self.network.choice()?);
        }
        if let (Some(trunk), Some(weights), Some(heads)) =
            (&self.lpips, &self.lpips_weights, &self.lpips_heads)
        {
            request = request.with_lpips(trunk.parse()?, weights, heads);
        }
        for network in &self.st_lpips {
            let (name, file) = match network.split_once('=') {
                Some((name, file)) => (name, Some(PathBuf::from(file))),
                None => (network.as_str(), None),
            };
            request = request.with_st_lpips(Trunk::shift_tolerant(name)?, file);
        }
        Ok(request)
    }
}
