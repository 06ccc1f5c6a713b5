//! `var-eval score`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use var_eval::features::network::FeatureNetwork;
use var_eval::features::store::FeatureFile;
use var_eval::inputs::sampler::Sampler;
use var_eval::inputs::set::{PictureSet, Selection, is_h5};
use var_eval::metrics::bootstrap::Bootstrap;
use var_eval::score::{Metric, Reference, Request, score};
use var_eval::statistics::file::{StatisticsFile, is_statistics};
use var_eval::{Error, Result};
use var_tokenizer::files::sha256;
use var_tokenizer::progress::{Progress, say, tell};
use var_tokenizer::signals;
use var_tokenizer::tokens::TokenFile;

use super::choice::NetworkArgs;
use super::extraction::{ExtractionArgs, Part};
use super::{ShowArgs, to_json};

#[derive(Args)]
#[command(
    after_help = "Pictures are taken as they are. Everything that can make a number doubtful is a warning with a code; \
features of another network or preprocessing are an error. With --out an interrupted call is gone on with by the \
same command, and features are used again. Exit status: 2 for bad input, 3 when interrupted.

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
    /// What to compare with: pictures, features (.h5), or statistics (.npz with mu and sigma)
    #[arg(long, value_name = "PATH")]
    reference: PathBuf,
    /// fd, sfid, is, pr (precision, recall), dc (density, coverage), kid, fd-inf, per-class, accuracy, separated by
    /// commas (default: fd, and sfid where there are spatial features)
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    metrics: Vec<String>,
    #[command(flatten)]
    network: NetworkArgs,
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

impl Score {
    pub fn run(self) -> Result<()> {
        let metrics = self.metrics.iter().map(|name| name.trim().parse()).collect::<Result<Vec<Metric>>>()?;
        let stop = signals::stop()?;
        // Without --out features live as long as the call.
        let (folder, _temporary) = match &self.out {
            Some(out) => {
                std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
                (out.clone(), None)
            }
            None => {
                let temporary = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let mut progress = self.show.progress();
        let mut network: Option<Box<dyn FeatureNetwork>> = None;
        let (samples, sampler) = {
            let selection = Selection { classes: self.classes.clone(), split: None, limit: self.limit };
            let place = |_: &str| folder.join("samples.h5");
            self.features(&self.samples, &selection, &place, &mut network, &stop, &mut progress)?
        };
        let reference = if is_statistics(&self.reference) {
            Reference::Statistics(StatisticsFile::read(&self.reference)?)
        } else {
            let split = self.reference_split.split();
            let selection = Selection { classes: Vec::new(), split, limit: self.reference_limit };
            // Named after what is in it: references of other pictures or networks lie beside each other.
            let cache = self.reference_cache.as_ref().unwrap_or(&folder);
            std::fs::create_dir_all(cache).map_err(|e| Error::io(cache, e))?;
            let place = |key: &str| cache.join(format!("reference-{key}.h5"));
            let found =
                self.features(&self.reference, &selection, &place, &mut network, &stop, &mut progress)?;
            Reference::Features(found.0)
        };
        let bootstrap =
            (self.bootstrap > 0).then(|| Bootstrap { draws: self.bootstrap, ..Bootstrap::default() });
        let request = Request { metrics, sampler, reconstructions: self.reconstructions, bootstrap };
        let report = score(&samples, &reference, &request)?;
        if let Some(out) = &self.out {
            report.write(out)?;
        }
        if self.show.json {
            return Ok(say(to_json(&report)?)?);
        }
        for warning in &report.warnings {
            if !self.show.quiet {
                tell(format_args!("warning: {warning}"));
            }
        }
        Ok(say(report.markdown().trim_end())?)
    }

    /// The features of `path`: as they are in an .h5, or those of its pictures, extracted into the file that
    /// `place` gives for a key of pictures and network.
    fn features(
        &self,
        path: &Path,
        selection: &Selection,
        place: &dyn Fn(&str) -> PathBuf,
        network: &mut Option<Box<dyn FeatureNetwork>>,
        stop: &Arc<AtomicBool>,
        progress: &mut Progress,
    ) -> Result<(FeatureFile, Option<Sampler>)> {
        // A token file (.h5 too) stands for its pictures.
        let tokens = is_h5(path).then(|| TokenFile::open(path).ok()).flatten();
        let pictures = match tokens {
            Some(tokens) => PictureSet::of_tokens(&tokens, selection)?,
            None if is_h5(path) && *selection == Selection::default() => {
                return Ok((FeatureFile::open(path)?, None));
            }
            None if is_h5(path) => {
                let message = "--classes, limits and splits choose pictures; features are taken whole";
                return Err(Error::file(path, message));
            }
            None => PictureSet::open(path, selection)?,
        };
        let sampler = pictures.sampler().cloned();
        let network = match network {
            Some(network) => network,
            none => none.insert(self.network.open()?),
        };
        let identity = to_json(network.identity())?;
        let key = sha256(format!("{identity}{}", pictures.fingerprint()).as_bytes());
        let out = place(key.get(..12).unwrap_or(&key));
        let features = self.extraction.run(pictures, out, network.as_ref(), stop, progress)?;
        Ok((features, sampler))
    }
}
