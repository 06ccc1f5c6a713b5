//! What to score, and how.

use std::path::{Path, PathBuf};

use var_tokenizer::torch::DeviceChoice;

use super::compute::Request;
use super::metric::Metric;
use super::reference::Reference;
use crate::features::extract::BATCH;
use crate::features::registry::NetworkChoice;
use crate::inputs::pixels::PixelRule;
use crate::inputs::set::Selection;
use crate::metrics::bootstrap::Bootstrap;

/// Scores samples against a [`Reference`].
///
/// By default it measures the Fréchet distance in the features of EfficientNet-lite0, on the processor.
///
/// ```no_run
/// use var_eval::{Metric, Quantity, Reference, Score};
///
/// let reference = Reference::open("val/")?;
/// let report = Score::of("samples.npz", &reference).with_metrics([Metric::Fd, Metric::Kid]).run()?;
/// println!("{:?}", report.value(Quantity::Kid));
/// println!("{}", report.markdown());
/// # Ok::<(), var_eval::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Score<'a> {
    pub(super) samples: PathBuf,
    pub(super) reference: &'a Reference,
    pub(super) selection: Selection,
    pub(super) pixels: Option<PixelRule>,
    pub(super) request: Request,
    pub(super) network: NetworkChoice,
    pub(super) device: DeviceChoice,
    pub(super) batch: usize,
    pub(super) restart: bool,
    pub(super) folder: Option<PathBuf>,
    pub(super) reference_folder: Option<PathBuf>,
}

impl<'a> Score<'a> {
    /// Scores `samples`: a folder or archive of images, a run folder with samples, a file of features (`.h5`), or a token
    /// file.
    pub fn of(samples: impl AsRef<Path>, reference: &'a Reference) -> Self {
        Self {
            samples: samples.as_ref().to_owned(),
            reference,
            selection: Selection::default(),
            pixels: None,
            request: Request::default(),
            network: NetworkChoice::default(),
            device: DeviceChoice::Cpu,
            batch: BATCH,
            restart: false,
            folder: None,
            reference_folder: None,
        }
    }

    /// Measures these metrics. Default: the Fréchet distance, and sFID if the network has spatial features.
    #[must_use]
    pub fn with_metrics(mut self, metrics: impl IntoIterator<Item = Metric>) -> Self {
        self.request.metrics = metrics.into_iter().collect();
        self
    }

    /// Takes the features of this network.
    #[must_use]
    pub fn with_network(mut self, network: NetworkChoice) -> Self {
        self.network = network;
        self
    }

    /// Computes on this device.
    #[must_use]
    pub fn with_device(mut self, device: DeviceChoice) -> Self {
        self.device = device;
        self
    }

    /// Scores a part of the samples.
    #[must_use]
    pub fn with_selection(mut self, selection: Selection) -> Self {
        self.selection = selection;
        self
    }

    /// Reads the pixels of the samples by this rule. Default: as stored.
    #[must_use]
    pub fn with_pixels(mut self, pixels: PixelRule) -> Self {
        self.pixels = Some(pixels);
        self
    }

    /// Adds intervals to the metrics that can have them.
    #[must_use]
    pub fn with_bootstrap(mut self, bootstrap: Bootstrap) -> Self {
        self.request.bootstrap = Some(bootstrap);
        self
    }

    /// Says that the samples are reconstructions by a tokenizer: names and warnings follow.
    #[must_use]
    pub fn of_reconstructions(mut self) -> Self {
        self.request.reconstructions = true;
        self
    }

    /// Computes this many images at once. Default: 64.
    #[must_use]
    pub fn with_batch(mut self, batch: usize) -> Self {
        self.batch = batch;
        self
    }

    /// Keeps the features in `folder`. A later call with the same images uses them again, and resumes an interrupted one.
    /// Default: a temporary folder.
    #[must_use]
    pub fn with_features_in(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = Some(folder.as_ref().to_owned());
        self
    }

    /// Keeps the features of the reference in `folder`, which several calls may share.
    #[must_use]
    pub fn with_reference_features_in(mut self, folder: impl AsRef<Path>) -> Self {
        self.reference_folder = Some(folder.as_ref().to_owned());
        self
    }

    /// Computes the features again, even if the folder has them.
    #[must_use]
    pub fn with_restart(mut self) -> Self {
        self.restart = true;
        self
    }
}
