//! `var-eval reconstruction`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;
use var_eval::features::extract::Extraction;
use var_eval::features::network::FeatureNetwork;
use var_eval::inputs::pairs;
use var_eval::inputs::pixels::PixelRule;
use var_eval::inputs::set::{PictureSet, Selection};
use var_eval::metrics::lpips::{Lpips, Trunk};
use var_eval::metrics::ssim::Downsampling;
use var_eval::report::Report;
use var_eval::score::{Metric, Reference, Request, score};
use var_eval::{Error, Result, reconstruction};
use var_tokenizer::progress::{Progress, Show, say};
use var_tokenizer::signals;

use super::choice::{NetworkArgs, without_effect};
use super::extraction::BATCH;
use super::pixels::PixelArgs;
use super::to_json;

#[derive(Args)]
#[command(
    after_help = "Images are matched by subfolder and file name without extension; the content tells the format. LPIPS needs its \
trunk (torchvision's ImageNet weights) and its heads (of the lpips package, weights/v0.1). \
Exit status: 2 when a picture has no partner or another size, or cannot be read.

Examples:
  var-eval reconstruction --reference originals/ --samples reconstructions/
  var-eval reconstruction --reference originals/ --samples reconstructions/ --json > metrics.json
  var-eval reconstruction --reference originals/ --samples reconstructions/ --fd         rFD-efficientnet-lite0
  var-eval reconstruction --reference originals/ --samples reconstructions/ --fd --network inception-fid \\
      --weights pt_inception.pth --lpips alex --lpips-weights alexnet.pth --lpips-heads alex.pth       rFID, LPIPS"
)]
pub struct Reconstruction {
    /// Folder of the originals
    #[arg(long, value_name = "DIR")]
    reference: PathBuf,
    /// Folder of the pictures to score
    #[arg(long, value_name = "DIR")]
    samples: PathBuf,
    /// Before SSIM average blocks, so that the shorter side is about 256 pixels (piq's default)
    #[arg(long)]
    downsample: bool,
    /// LPIPS too, in the features of squeeze, alex or vgg
    #[arg(long, value_name = "TRUNK", requires_all = ["lpips_weights", "lpips_heads"])]
    lpips: Option<String>,
    /// File of the trunk's weights
    #[arg(long, value_name = "FILE", requires = "lpips")]
    lpips_weights: Option<PathBuf>,
    /// File of the heads
    #[arg(long, value_name = "FILE", requires = "lpips")]
    lpips_heads: Option<PathBuf>,
    /// The Fréchet distance of both sets too (rFID on inception-fid)
    #[arg(long)]
    fd: bool,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    pixels: PixelArgs,
    /// One JSON object instead of text
    #[arg(long)]
    json: bool,
    /// No progress
    #[arg(long)]
    quiet: bool,
}

/// Pairs and, where it was asked for, both sets as wholes.
#[derive(Serialize)]
struct Reports {
    #[serde(flatten)]
    pairs: reconstruction::Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    sets: Option<Report>,
}

impl Reconstruction {
    pub fn run(self) -> Result<()> {
        let mut progress = Progress::new(Show::from_flags(false, self.quiet || self.json));
        let rule = self.pixels.rule()?;
        let device = self.lpips.is_some();
        let unused = self.network.given().into_iter().filter(|&flag| !(device && flag == "--device"));
        if !self.fd {
            without_effect(&unused.collect::<Vec<_>>(), "only --fd takes a network", &progress);
        }
        // What cannot be measured is refused before the pairs are.
        if self.fd && pairs(&self.reference, &self.samples)?.len() < 2 {
            let message = "holds one image: --fd needs at least two on either side";
            return Err(Error::file(&self.reference, message));
        }
        let network = self.fd.then(|| self.network.open(&progress)).transpose()?;
        let lpips = match (&self.lpips, &self.lpips_weights, &self.lpips_heads) {
            (Some(trunk), Some(weights), Some(heads)) => {
                let trunk: Trunk = trunk.parse()?;
                Some(Lpips::load(trunk, weights, heads, self.network.device()?)?)
            }
            _ => None,
        };
        let downsampling = if self.downsample { Downsampling::Blocks } else { Downsampling::None };
        let mut pairs = reconstruction::score(
            &self.reference,
            &self.samples,
            rule,
            downsampling,
            lpips.as_ref(),
            &mut progress,
        )?;
        // The pairs' figures are safe whatever becomes of the sets'.
        let sets = network.map(|network| self.distance(network.as_ref(), rule, &mut progress)).transpose();
        let (sets, failure) = match sets {
            Ok(sets) => (sets, None),
            Err(e) => (None, Some(e)),
        };
        if let Some(sets) = &sets {
            pairs.warnings.retain(|warning| !sets.warnings.contains(warning));
        }
        let failure = failure.or_else(|| sets.as_ref().and_then(Report::failure));
        let reports = Reports { pairs, sets };
        if self.json {
            say(to_json(&reports)?)?;
        } else {
            say(&reports.pairs)?;
            if let Some(sets) = reports.sets {
                say(format_args!("\n{}", sets.markdown().trim_end()))?;
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// The Fréchet distance of both folders. Features live as long as the call.
    fn distance(
        &self,
        network: &dyn FeatureNetwork,
        rule: PixelRule,
        progress: &mut Progress,
    ) -> Result<Report> {
        let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
        let stop = signals::stop()?;
        let mut features = |path: &Path, name: &str| {
            let extraction = Extraction {
                pictures: Arc::new(PictureSet::open(path, &Selection::default(), rule)?),
                out: folder.path().join(name),
                batch: BATCH as usize,
                restart: false,
                temporary: true,
                stop: Arc::clone(&stop),
            };
            extraction.run(network, progress)
        };
        let samples = features(&self.samples, "samples.h5")?;
        let reference = Reference::Features(features(&self.reference, "reference.h5")?);
        let request = Request { metrics: vec![Metric::Fd], reconstructions: true, ..Request::default() };
        score(&samples, &reference, &request)
    }
}
