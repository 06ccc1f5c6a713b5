//! From two opened sets to a report: checks, features, scores.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use var_tokenizer::files::sha256;
use var_tokenizer::progress::{Progress, Show};
use var_tokenizer::torch::guarded;

use super::against::Against;
use super::agreement::{same_network, same_pixels, same_statistics};
use super::ahead;
use super::builder::Score;
use super::compute::{Request, score};
use super::metric::Metric;
use super::set::ImageSet;
use crate::error::{Error, Result};
use crate::features::earlier::with_earlier;
use crate::features::extract::Extraction;
use crate::features::network::{FeatureNetwork, Identity};
use crate::features::store::FeatureFile;
use crate::inputs::set::PictureSet;
use crate::report::ScoreReport;

impl Score<'_> {
    /// Opens the samples, and the network if it is needed. Computes nothing yet.
    ///
    /// # Errors
    /// When the samples, the images of the reference or the network cannot be opened.
    pub fn open(&self) -> Result<Measurement<'_>> {
        guarded(|| Measurement::open(self, None))
    }

    /// Measures, and shows no progress. If a metric fails, the report says so and has the other numbers.
    ///
    /// # Errors
    /// When a set or the network cannot be opened; when a metric cannot be computed from them; when features do not
    /// compare; when a file is damaged; when libtorch fails.
    pub fn run(&self) -> Result<ScoreReport> {
        self.open()?.run(&mut Progress::new(Show::Quiet), &Arc::new(AtomicBool::new(false)))
    }
}

/// Both sets of a [`Score`] and the network, opened.
pub struct Measurement<'a> {
    score: &'a Score<'a>,
    samples: ImageSet,
    reference: Option<ImageSet>,
    /// `None` if both sets are features or statistics.
    network: Option<Rc<dyn FeatureNetwork>>,
    identity: Identity,
}

impl<'a> Measurement<'a> {
    /// Opens what `score` names. Takes `network` if it is given.
    pub(crate) fn open(score: &'a Score<'a>, network: Option<Rc<dyn FeatureNetwork>>) -> Result<Self> {
        let files: Vec<PathBuf> = score.folder.iter().map(|folder| samples_in(folder)).collect();
        let samples = ImageSet::open(&score.samples, &score.selection, score.pixels)
            .map_err(|e| with_earlier(e, &score.samples, &files))?;
        let wanted = score.request.metrics.iter().any(|metric| metric.takes_reference_rows());
        let reference = score.reference.images(wanted)?;
        let extracts =
            [Some(&samples), reference.as_ref()].into_iter().flatten().any(|set| set.pictures().is_some());
        let network = match network {
            None if extracts => Some(Rc::from(score.network.open(score.device.resolve()?)?)),
            network => network.filter(|_| extracts),
        };
        let identity = match (&samples, &network) {
            (ImageSet::Features(file), _) => file.info().network.clone(),
            (ImageSet::Pictures(_), Some(network)) => network.identity().clone(),
            (ImageSet::Pictures(_), None) => return Err(no_network()),
        };
        Ok(Self { score, samples, reference, network, identity })
    }

    /// The samples.
    pub fn samples(&self) -> &ImageSet {
        &self.samples
    }

    /// The images or features of the reference; `None` if only its statistics are used.
    pub fn reference(&self) -> Option<&ImageSet> {
        self.reference.as_ref()
    }

    /// Whether the network has to run over a set.
    pub fn extracts(&self) -> bool {
        self.network.is_some()
    }

    /// The metrics, each once: the requested ones, or the default ones.
    pub fn metrics(&self) -> Vec<Metric> {
        self.score.request.wanted(&self.identity, self.score.reference.statistics())
    }

    /// A sentence for each thing that was skipped or decided when the sets were opened, with the name of the set.
    pub fn notes(&self) -> Vec<String> {
        let sets = [Some(&self.samples), self.reference.as_ref()];
        let sets = sets.into_iter().flatten().filter_map(ImageSet::pictures);
        sets.flat_map(|set| set.notes().iter().map(|note| format!("{}: {note}", set.label()))).collect()
    }

    /// Runs the network over the images and computes the scores. Shows `progress`, and ends early when `stop` is set.
    ///
    /// # Errors
    /// As [`Score::run`], and [`var_tokenizer::Error::Interrupted`] after a stop.
    pub fn run(&self, progress: &mut Progress, stop: &Arc<AtomicBool>) -> Result<ScoreReport> {
        guarded(|| {
            self.check()?;
            let places = Places::make(self.score)?;
            let mut features = |set: &ImageSet, place: &dyn Fn(&str) -> PathBuf| match set {
                ImageSet::Features(file) => Ok(Arc::clone(file)),
                ImageSet::Pictures(set) => {
                    self.extract(set, place, places.temporary.is_some(), stop, progress)
                }
            };
            let samples = features(&self.samples, &|_| samples_in(&places.folder))?;
            let reference = match &self.reference {
                Some(set) => Some(features(set, &|key| places.cache.join(format!("{PREFIX}{key}.h5")))?),
                None => None,
            };
            let against = match (&reference, self.score.reference.statistics()) {
                (Some(features), Some(statistics)) => Against::Batch { statistics, features },
                (Some(features), None) => Against::Features(features),
                (None, Some(statistics)) => Against::Statistics(statistics),
                (None, None) => {
                    return Err(Error::config("the reference holds neither images nor statistics"));
                }
            };
            let sampler = self.samples.pictures().and_then(PictureSet::sampler).cloned();
            score(&samples, against, &Request { sampler, ..self.score.request.clone() })
        })
    }

    /// The features of `set`. `place` names the file after a key of the network and the images.
    fn extract(
        &self,
        set: &Arc<PictureSet>,
        place: &dyn Fn(&str) -> PathBuf,
        temporary: bool,
        stop: &Arc<AtomicBool>,
        progress: &mut Progress,
    ) -> Result<Arc<FeatureFile>> {
        let network = self.network.as_deref().ok_or_else(no_network)?;
        let identity = serde_json::to_string(network.identity()).map_err(|e| Error::config(e.to_string()))?;
        let key = sha256(format!("{identity}{}{}", set.fingerprint(), set.rule()).as_bytes());
        let extraction = Extraction {
            pictures: Arc::clone(set),
            out: place(key.get(..12).unwrap_or(&key)),
            batch: self.score.batch,
            restart: self.score.restart,
            temporary,
            stop: Arc::clone(stop),
        };
        extraction.run(network, progress).map(Arc::new)
    }

    /// Refuses what cannot be measured, before the network runs.
    fn check(&self) -> Result<()> {
        let rule = self.samples.rule();
        if let Some(set) = &self.reference {
            let (theirs, source) = match set {
                ImageSet::Features(file) => (Some(&file.info().network), file.path().display().to_string()),
                ImageSet::Pictures(set) => {
                    (self.network.as_deref().map(FeatureNetwork::identity), set.label().to_owned())
                }
            };
            theirs.map_or(Ok(()), |theirs| same_network(&self.identity, theirs, &source))?;
            // The error names the set that has features.
            match (set, &self.samples) {
                (ImageSet::Pictures(set), ImageSet::Features(file)) => {
                    same_pixels(rule, set.rule(), &file.path().display().to_string())?;
                }
                _ => same_pixels(set.rule(), rule, &source)?,
            }
        }
        let statistics = self.score.reference.statistics();
        if let Some(file) = statistics {
            same_statistics(&self.identity, rule, file)?;
        }
        let reference = self.reference.as_ref().map(ImageSet::outline).transpose()?;
        ahead::check(
            &self.metrics(),
            &self.identity,
            &self.samples.outline()?,
            reference.as_ref(),
            statistics,
        )
    }
}

fn no_network() -> Error {
    Error::config("no network is open")
}

/// Where features go.
struct Places {
    folder: PathBuf,
    cache: PathBuf,
    /// Deleted at the end, if no folder was given.
    temporary: Option<tempfile::TempDir>,
}

impl Places {
    /// Creates the folders.
    fn make(score: &Score<'_>) -> Result<Self> {
        let make = |folder: &Path| std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e));
        let (folder, temporary) = match &score.folder {
            Some(folder) => (folder.clone(), None),
            None => {
                let temporary = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        make(&folder)?;
        let cache = score.reference_folder.as_ref().unwrap_or(&folder).clone();
        make(&cache)?;
        Ok(Self { folder, cache, temporary })
    }
}

/// The file with the features of the samples.
fn samples_in(folder: &Path) -> PathBuf {
    folder.join("samples.h5")
}

/// A file with the features of a reference is named after its content: other images or another network have another file.
const PREFIX: &str = "reference-";

/// The features of references in `folder`, finished or not.
pub fn references_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(std::result::Result::ok);
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let files = names.filter(|name| name.starts_with(PREFIX));
    let files = files.map(|name| name.trim_end_matches(".partial").to_owned());
    files.filter(|name| name.ends_with(".h5")).map(|name| folder.join(name)).collect()
}
