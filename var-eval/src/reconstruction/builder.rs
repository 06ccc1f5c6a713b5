//! What to measure on reconstructions, and the run.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use var_tokenizer::progress::{Progress, Show};
use var_tokenizer::torch::{DeviceChoice, guarded};

use super::pairs::score;
use super::report::PairReport;
use crate::error::{Error, Result};
use crate::features::network::FeatureNetwork;
use crate::features::registry::NetworkChoice;
use crate::inputs::pixels::PixelRule;
use crate::inputs::set::Selection;
use crate::inputs::{Pair, pairs};
use crate::metrics::lpips::{Lpips, Trunk};
use crate::metrics::ssim::Downsampling;
use crate::report::ScoreReport;
use crate::score::{Measurement, Metric, Reference, Score};

/// Compares the images of a folder with their originals, which have the same names in another folder.
///
/// By default it measures PSNR and SSIM, on the processor.
///
/// ```no_run
/// use var_eval::Reconstruction;
///
/// let report = Reconstruction::of("reconstructions/", "originals/").run()?;
/// println!("{} dB", report.psnr_db);
/// # Ok::<(), var_eval::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Reconstruction {
    samples: PathBuf,
    originals: PathBuf,
    pixels: PixelRule,
    downsampling: Downsampling,
    lpips: Option<(Trunk, PathBuf, PathBuf)>,
    st_lpips: Vec<(Trunk, Option<PathBuf>)>,
    distance: Option<NetworkChoice>,
    device: DeviceChoice,
}

impl Reconstruction {
    /// Compares the folder `samples` with the folder `originals`. Partners have the same subfolder and the same file name
    /// without extension.
    pub fn of(samples: impl AsRef<Path>, originals: impl AsRef<Path>) -> Self {
        Self {
            samples: samples.as_ref().to_owned(),
            originals: originals.as_ref().to_owned(),
            pixels: PixelRule::Stored,
            downsampling: Downsampling::None,
            lpips: None,
            st_lpips: Vec::new(),
            distance: None,
            device: DeviceChoice::Cpu,
        }
    }

    /// Reads pixels by this rule. Default: as stored.
    #[must_use]
    pub fn with_pixels(mut self, pixels: PixelRule) -> Self {
        self.pixels = pixels;
        self
    }

    /// Makes images smaller before SSIM. Default: no.
    #[must_use]
    pub fn with_downsampling(mut self, downsampling: Downsampling) -> Self {
        self.downsampling = downsampling;
        self
    }

    /// Adds LPIPS, with a file of the trunk's weights and a file of the heads.
    #[must_use]
    pub fn with_lpips(mut self, trunk: Trunk, weights: impl AsRef<Path>, heads: impl AsRef<Path>) -> Self {
        self.lpips = Some((trunk, weights.as_ref().to_owned(), heads.as_ref().to_owned()));
        self
    }

    /// Adds ST-LPIPS on the network `trunk` ([`Trunk::ShiftTolerantAlex`] or [`Trunk::ShiftTolerantVgg`]), from a file or from
    /// the one that `cargo xtask setup --features` fetches.
    #[must_use]
    pub fn with_st_lpips(mut self, trunk: Trunk, weights: Option<PathBuf>) -> Self {
        self.st_lpips.push((trunk, weights));
        self
    }

    /// Adds the Fréchet distance of both folders, in the features of this network (rFID with `inception-fid`).
    #[must_use]
    pub fn with_distance(mut self, network: NetworkChoice) -> Self {
        self.distance = Some(network);
        self
    }

    /// Computes on this device.
    #[must_use]
    pub fn with_device(mut self, device: DeviceChoice) -> Self {
        self.device = device;
        self
    }

    /// Finds the pairs and loads the networks. Computes nothing yet.
    ///
    /// # Errors
    /// When an image has no partner, there are too few images for a Fréchet distance, or a network cannot be loaded.
    pub fn open(&self) -> Result<OpenedReconstruction<'_>> {
        guarded(|| {
            let pairs = pairs(&self.originals, &self.samples)?;
            if self.distance.is_some() && pairs.len() < 2 {
                let message = "holds one image: a Fréchet distance needs at least two in both folders";
                return Err(Error::file(&self.originals, message));
            }
            let network = match &self.distance {
                Some(network) => Some(Rc::from(network.open(self.device.resolve()?)?)),
                None => None,
            };
            let mut lpips = Vec::new();
            if let Some((trunk, weights, heads)) = &self.lpips {
                lpips.push(Lpips::load(*trunk, weights, heads, self.device.resolve()?)?);
            }
            for (trunk, weights) in &self.st_lpips {
                let weights = match weights {
                    Some(file) => file.clone(),
                    None => trunk.fetched()?,
                };
                lpips.push(Lpips::load_shift_tolerant(*trunk, &weights, self.device.resolve()?)?);
            }
            Ok(OpenedReconstruction { request: self, pairs, network, lpips })
        })
    }

    /// Measures, and shows no progress.
    ///
    /// # Errors
    /// As [`Reconstruction::open`]; when an image cannot be read, differs in size from its partner, or is too small; when
    /// libtorch fails.
    pub fn run(&self) -> Result<PairReport> {
        let opened = self.open()?;
        let mut progress = Progress::new(Show::Quiet);
        let report = opened.pairs(&mut progress)?;
        Ok(match opened.sets(&mut progress, &Arc::new(AtomicBool::new(false)))? {
            Some(sets) => report.with_sets(sets),
            None => report,
        })
    }
}

/// The pairs of a [`Reconstruction`], and its networks.
pub struct OpenedReconstruction<'a> {
    request: &'a Reconstruction,
    pairs: Vec<Pair>,
    network: Option<Rc<dyn FeatureNetwork>>,
    lpips: Vec<Lpips>,
}

impl OpenedReconstruction<'_> {
    /// Measures the pairs.
    ///
    /// # Errors
    /// When an image cannot be read, differs in size from its partner, or is too small for SSIM's window or the network of a
    /// distance; the error names it. When libtorch fails.
    pub fn pairs(&self, progress: &mut Progress) -> Result<PairReport> {
        let Reconstruction { samples, originals, pixels, downsampling, .. } = self.request;
        guarded(|| score(originals, samples, &self.pairs, *pixels, *downsampling, &self.lpips, progress))
    }

    /// Measures the Fréchet distance of both folders; `None` if it was not requested. Ends early when `stop` is set.
    ///
    /// # Errors
    /// As [`Score::run`], and [`var_tokenizer::Error::Interrupted`] after a stop.
    pub fn sets(&self, progress: &mut Progress, stop: &Arc<AtomicBool>) -> Result<Option<ScoreReport>> {
        let Some(network) = &self.network else { return Ok(None) };
        let Reconstruction { samples, originals, pixels, .. } = self.request;
        let reference = Reference::open_as(originals, Selection::default(), Some(*pixels))?;
        let score = Score::of(samples, &reference)
            .with_metrics([Metric::Fd])
            .with_pixels(*pixels)
            .of_reconstructions();
        guarded(|| Measurement::open(&score, Some(Rc::clone(network)))?.run(progress, stop)).map(Some)
    }
}
