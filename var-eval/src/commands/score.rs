//! `var-eval score`.

use std::path::{Path, PathBuf};

use clap::Args;
use var_eval::features::network::{FeatureNetwork, Identity};
use var_eval::features::store::FeatureFile;
use var_eval::inputs::h5::{H5, is_h5, open_h5};
use var_eval::inputs::pixels::PixelRule;
use var_eval::inputs::sampler::Sampler;
use var_eval::inputs::set::{PictureSet, Selection};
use var_eval::metrics::bootstrap::Bootstrap;
use var_eval::score::ahead::{self, Outline};
use var_eval::score::{Metric, Reference, Request, same_network, same_pixels, same_statistics, score};
use var_eval::statistics::file::{StatisticsFile, is_statistics};
use var_eval::{Error, Result};
use var_tokenizer::files::sha256;
use var_tokenizer::progress::{Progress, say};
use var_tokenizer::signals;

use super::choice::{NetworkArgs, without_effect};
use super::extraction::{ExtractionArgs, Part, note_selection, open_pictures};
use super::pixels::PixelArgs;
use super::{ShowArgs, to_json};

#[derive(Args)]
#[command(
    after_help = "Everything that can make a number doubtful is a warning with a code; features of another network, \
preprocessing or pixel rule are an error. Metrics that cannot be computed are refused before any work; one that fails \
later does not lose the others. With --out the same command resumes an interrupted call, and features are used again. \
Exit status: 2 for bad input or a failed metric, 3 when interrupted.

Examples:
  var-eval score --samples samples.npz --reference emoji --reference-split val
  var-eval score --samples samples/ --reference val/ --out scores/            metrics.json, metrics.md, features
  var-eval score --samples samples.npz --reference ref.npz --network inception-fid --weights pt_inception.pth
  var-eval score --samples samples.npz --reference val.h5 --metrics fd,per-class --json"
)]
pub struct Score {
    /// What to score: a folder of pictures, a tar, an npz, a run folder with samples, or features (.h5)
    #[arg(long, value_name = "PATH")]
    samples: PathBuf,
    /// What to compare with: pictures, features (.h5), statistics (.npz with mu and sigma), or a batch of both
    #[arg(long, value_name = "PATH")]
    reference: PathBuf,
    /// fd, sfid, is, pr (precision, recall), dc (density, coverage), kid, fd-inf, per-class, accuracy, separated by
    /// commas (default: fd, and sfid where there are spatial features)
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    metrics: Vec<String>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    pixels: PixelArgs,
    /// Draws of 95% intervals for fd, pr, dc and accuracy, by resampling pictures; 0: none
    #[arg(long, default_value_t = 0, value_name = "DRAWS")]
    bootstrap: usize,
    /// Classes of the samples by name, number or range, separated by commas (default: all); id:7 is always the
    /// number, name:7 the name
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    classes: Vec<String>,
    /// At most so many samples, drawn by chance, the same every time; 0: all
    #[arg(long, default_value_t = 0, value_name = "N")]
    limit: usize,
    /// At most so many pictures of the reference; 0: all
    #[arg(long, default_value_t = 0, value_name = "N")]
    reference_limit: usize,
    /// Part of the reference
    #[arg(long, default_value = "all", value_name = "PART")]
    reference_split: Part,
    /// The samples are a tokenizer's reconstructions
    #[arg(long)]
    reconstructions: bool,
    /// Folder for metrics.json, metrics.md and the features
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder for the features of the reference, which several calls may share [default: --out]
    #[arg(long, value_name = "DIR")]
    reference_cache: Option<PathBuf>,
    #[command(flatten)]
    extraction: ExtractionArgs,
    #[command(flatten)]
    show: ShowArgs,
}

/// One of the two sets, opened and not yet computed.
enum Side {
    Pictures(Box<PictureSet>),
    Features(Box<FeatureFile>),
}

impl Side {
    fn outline(&self) -> Result<Outline> {
        match self {
            Self::Pictures(set) => Ok(Outline::of_pictures(set)),
            Self::Features(file) => Outline::of_features(file),
        }
    }

    fn rule(&self) -> PixelRule {
        match self {
            Self::Pictures(set) => set.rule(),
            Self::Features(file) => file.info().pixels,
        }
    }
}

/// Both sets, opened.
struct Opened {
    samples: Side,
    reference: Option<Side>,
    statistics: Option<StatisticsFile>,
}

/// Where features go.
struct Places {
    folder: PathBuf,
    cache: PathBuf,
    /// Lives as long as the call, where no folder was asked for.
    temporary: Option<tempfile::TempDir>,
}

impl Places {
    /// Where the samples' features are kept.
    fn samples(&self) -> PathBuf {
        self.folder.join("samples.h5")
    }

    /// Named after what is in it: references of other pictures or networks lie next to each other.
    fn reference(&self, key: &str) -> PathBuf {
        self.cache.join(format!("reference-{key}.h5"))
    }

    /// Features of references, finished or begun.
    fn references(&self) -> Vec<PathBuf> {
        let entries =
            std::fs::read_dir(&self.cache).into_iter().flatten().filter_map(std::result::Result::ok);
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let files = names.filter(|name| name.starts_with("reference-"));
        let files = files.map(|name| name.trim_end_matches(".partial").to_owned());
        files.filter(|name| name.ends_with(".h5")).map(|name| self.cache.join(name)).collect()
    }
}

impl Score {
    pub fn run(self) -> Result<()> {
        let metrics = self.metrics.iter().map(|name| name.trim().parse()).collect::<Result<Vec<Metric>>>()?;
        let bootstrap =
            (self.bootstrap > 0).then(|| Bootstrap { draws: self.bootstrap, ..Bootstrap::default() });
        let mut request =
            Request { metrics, sampler: None, reconstructions: self.reconstructions, bootstrap };
        let stop = signals::stop()?;
        let mut progress = self.show.progress();
        let places = self.places()?;
        let opened = self.open(&request, &places, &progress)?;
        let sides = [Some(&opened.samples), opened.reference.as_ref()];
        let pictures = sides.into_iter().flatten().any(|side| matches!(side, Side::Pictures(_)));
        let network = if pictures { Some(self.network.open(&progress)?) } else { None };
        let identity = match (&network, &opened.samples) {
            (_, Side::Features(file)) => file.info().network.clone(),
            (Some(network), Side::Pictures(_)) => network.identity().clone(),
            (None, Side::Pictures(_)) => return Err(Error::config("no network was opened")),
        };
        self.note_unused(&request, &identity, &opened, pictures, &progress);
        check(&request, &identity, network.as_deref().map(FeatureNetwork::identity), &opened)?;
        let Opened { samples, reference, statistics } = opened;
        let mut features = |side: Side, place: &dyn Fn(&str) -> PathBuf| match (side, &network) {
            (Side::Features(file), _) => Ok(*file),
            (Side::Pictures(set), Some(network)) => {
                let identity = to_json(network.identity())?;
                let key = format!("{identity}{}{}", set.fingerprint(), set.rule());
                let key = sha256(key.as_bytes());
                let (out, temporary) = (place(key.get(..12).unwrap_or(&key)), places.temporary.is_some());
                self.extraction.run(*set, out, temporary, network.as_ref(), &stop, &mut progress)
            }
            (Side::Pictures(_), None) => Err(Error::config("no network was opened")),
        };
        request.sampler = sampler(&samples);
        let samples = features(samples, &|_| places.samples())?;
        let reference = reference.map(|side| features(side, &|key| places.reference(key))).transpose()?;
        let reference = match (reference, statistics) {
            (Some(features), Some(statistics)) => Reference::Batch { statistics, features },
            (Some(features), None) => Reference::Features(features),
            (None, Some(statistics)) => Reference::Statistics(statistics),
            (None, None) => return Err(Error::config("no reference was opened")),
        };
        let report = score(&samples, &reference, &request)?;
        if let Some(out) = &self.out {
            report.write(out)?;
        }
        if self.show.json {
            say(to_json(&report)?)?;
        } else {
            say(report.markdown().trim_end())?;
        }
        report.failure().map_or(Ok(()), Err)
    }

    /// Makes the folders that features go to.
    fn places(&self) -> Result<Places> {
        let make = |folder: &Path| std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e));
        let (folder, temporary) = match &self.out {
            Some(out) => (out.clone(), None),
            None => {
                let temporary = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        make(&folder)?;
        let cache = self.reference_cache.as_ref().unwrap_or(&folder).clone();
        make(&cache)?;
        Ok(Places { folder, cache, temporary })
    }

    /// Opens both sets. The pictures of a batch with statistics are wanted only where a metric takes them.
    fn open(&self, request: &Request, places: &Places, progress: &Progress) -> Result<Opened> {
        let selection = Selection { classes: self.classes.clone(), split: None, limit: self.limit };
        let samples = self.side(&self.samples, &selection, &[places.samples()])?;
        if let Side::Pictures(set) = &samples {
            note_selection(set, (self.pixels.asked()?, self.limit), ["--pixels", "--limit"], progress);
        }
        let split = self.reference_split.split();
        let selection = Selection { classes: Vec::new(), split, limit: self.reference_limit };
        if !is_statistics(&self.reference) {
            let reference = self.side(&self.reference, &selection, &places.references())?;
            if let Side::Pictures(set) = &reference {
                let limit = self.reference_limit;
                note_selection(set, (None, limit), ["--pixels", "--reference-limit"], progress);
            }
            return Ok(Opened { samples, reference: Some(reference), statistics: None });
        }
        let statistics = StatisticsFile::read(&self.reference)?;
        let wanted = statistics.images && request.metrics.iter().any(|metric| metric.takes_reference_rows());
        let reference = if wanted { Some(self.side(&self.reference, &selection, &[])?) } else { None };
        if statistics.images {
            let rest = if wanted { "its images for the other metrics" } else { "no metric takes its images" };
            progress.note(&format!(
                "{}: a batch of statistics and images; Fréchet distances take its statistics, {rest}",
                self.reference.display()
            ));
        }
        Ok(Opened { samples, reference, statistics: Some(statistics) })
    }

    /// Opens a set: features as they are in an .h5, or pictures. `files` are features of earlier calls.
    fn side(&self, path: &Path, selection: &Selection, files: &[PathBuf]) -> Result<Side> {
        let asked = self.pixels.asked()?;
        if is_h5(path) {
            return match open_h5(path)? {
                // A token file stands for its pictures.
                H5::Tokens(tokens) => {
                    Ok(Side::Pictures(Box::new(PictureSet::of_tokens(&tokens, selection)?)))
                }
                H5::Features(_) if *selection != Selection::default() => {
                    let message = "--classes, limits and splits choose pictures; features are taken whole";
                    Err(Error::file(path, message))
                }
                H5::Features(file) => {
                    if let Some(asked) = asked {
                        same_pixels(file.info().pixels, asked, &path.display().to_string())?;
                    }
                    Ok(Side::Features(file))
                }
            };
        }
        Ok(Side::Pictures(Box::new(open_pictures(path, selection, self.pixels.rule()?, files)?)))
    }

    /// Says which flags have no effect.
    fn note_unused(
        &self,
        request: &Request,
        identity: &Identity,
        opened: &Opened,
        pictures: bool,
        progress: &Progress,
    ) {
        if !pictures {
            let flags = [self.network.given(), self.extraction.given()].concat();
            without_effect(&flags, "both sets are features or statistics already", progress);
        }
        let extracted = matches!(opened.reference, Some(Side::Pictures(_)));
        if self.reference_cache.is_some() && !extracted {
            without_effect(&["--reference-cache"], "the reference needs no features", progress);
        }
        if opened.statistics.is_some() && opened.reference.is_none() {
            let flags: Vec<&str> = [
                ("--reference-limit", self.reference_limit > 0),
                ("--reference-split", self.reference_split != Part::All),
            ]
            .into_iter()
            .filter(|&(_, given)| given)
            .map(|(flag, _)| flag)
            .collect();
            without_effect(&flags, "the reference's statistics are taken whole", progress);
        }
        let without: Vec<&str> = request
            .wanted(identity, opened.statistics.as_ref())
            .into_iter()
            .filter(|metric| !metric.has_interval())
            .map(Metric::name)
            .collect();
        if self.bootstrap > 0 && !without.is_empty() {
            let why = format!("no intervals are drawn for it on {}", without.join(", "));
            without_effect(&["--bootstrap"], &why, progress);
        }
    }
}

/// Refuses what cannot be measured, before any picture is computed.
fn check(request: &Request, identity: &Identity, network: Option<&Identity>, opened: &Opened) -> Result<()> {
    let rule = opened.samples.rule();
    if let Some(side) = &opened.reference {
        let (theirs, source) = match side {
            Side::Features(file) => (Some(&file.info().network), file.path().display().to_string()),
            Side::Pictures(set) => (network, set.label().to_owned()),
        };
        theirs.map_or(Ok(()), |theirs| same_network(identity, theirs, &source))?;
        // The error names features where one side has them.
        match (side, &opened.samples) {
            (Side::Pictures(set), Side::Features(file)) => {
                same_pixels(rule, set.rule(), &file.path().display().to_string())?;
            }
            _ => same_pixels(side.rule(), rule, &source)?,
        }
    }
    if let Some(file) = &opened.statistics {
        same_statistics(identity, rule, file)?;
    }
    let wanted = request.wanted(identity, opened.statistics.as_ref());
    let (samples, reference) =
        (opened.samples.outline()?, opened.reference.as_ref().map(Side::outline).transpose()?);
    ahead::check(&wanted, identity, &samples, reference.as_ref(), opened.statistics.as_ref())
}

/// How the samples were made, where it stands next to them.
fn sampler(samples: &Side) -> Option<Sampler> {
    match samples {
        Side::Pictures(set) => set.sampler().cloned(),
        Side::Features(_) => None,
    }
}
