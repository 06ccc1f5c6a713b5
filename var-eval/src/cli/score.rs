//! `var-eval score`.

use std::path::{Path, PathBuf};

use clap::Args;
use var_eval::features::earlier::with_earlier;
use var_eval::inputs::set::Selection;
use var_eval::metrics::bootstrap::Bootstrap;
use var_eval::score::{ImageSet, Measurement, references_in};
use var_eval::{Error, Metric, Reference, Result, Score, published};
use var_tokenizer::h5::check::check_in_child;
use var_tokenizer::images::EMOJI;
use var_tokenizer::progress::{Progress, say};
use var_tokenizer::signals;

use super::extraction::{ExtractionArgs, Part, note_selection};
use super::network::{NetworkArgs, without_effect};
use super::pixels::PixelArgs;
use super::{ShowArgs, to_json};

#[derive(Args)]
#[command(
    after_help = "Whatever makes a number doubtful is a warning with a code. Features of another network, preprocessing or pixel \
rule are an error. Metrics that cannot be computed are refused before any work. If a metric fails later, the others are \
still reported. With --out, the same command resumes an interrupted one and uses its features again. Exit status: 2 for \
bad input or a failed metric, 3 when interrupted.

Examples:
  var-eval score --samples samples.npz --reference emoji --reference-split val
  var-eval score --samples samples/ --reference val/ --out scores/   metrics.json, .md, features
  var-eval score --samples samples.npz --reference imagenet-256 --network inception-fid \\
      --preprocessing torch-fidelity
  var-eval score --samples samples.npz --reference val.h5 --metrics fd,per-class --json"
)]
pub struct ScoreArgs {
    /// Samples: a folder of images, a tar, an npz, a run folder with samples, or features (.h5)
    #[arg(long, value_name = "PATH")]
    samples: PathBuf,
    /// Reference: images, features (.h5), statistics (.npz with mu and sigma), a batch with statistics and images, or a
    /// published reference: imagenet-256 or imagenet-512, fetched once
    #[arg(long, value_name = "PATH")]
    reference: PathBuf,
    /// Metrics, separated by commas: fd, sfid, is, pr (precision, recall), dc (density, coverage), kid, fd-inf,
    /// per-class, accuracy [default: fd, and sfid if the network has spatial features]
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    metrics: Vec<String>,
    #[command(flatten)]
    network: NetworkArgs,
    #[command(flatten)]
    pixels: PixelArgs,
    /// Number of draws for 95% intervals of fd, pr, dc and accuracy, by resampling images; 0: no intervals
    #[arg(long, default_value_t = 0, value_name = "DRAWS")]
    bootstrap: usize,
    /// Classes of the samples by name, number or range, separated by commas [default: all]; id:7 is always a number,
    /// name:7 a name
    #[arg(long, value_name = "LIST", allow_hyphen_values = true)]
    classes: Vec<String>,
    /// Maximum number of samples, selected at random but always the same; 0: all
    #[arg(long, default_value_t = 0, value_name = "N")]
    limit: usize,
    /// Maximum number of images of the reference; 0: all
    #[arg(long, default_value_t = 0, value_name = "N")]
    reference_limit: usize,
    /// Part of the reference
    #[arg(long, default_value = "all", value_name = "PART")]
    reference_split: Part,
    /// Treat the samples as reconstructions by a tokenizer: names and warnings follow
    #[arg(long)]
    reconstructions: bool,
    /// Folder for metrics.json, metrics.md and the features
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder for the features of the reference, which several commands may share [default: --out]
    #[arg(long, value_name = "DIR")]
    reference_cache: Option<PathBuf>,
    #[command(flatten)]
    extraction: ExtractionArgs,
    #[command(flatten)]
    show: ShowArgs,
}

impl ScoreArgs {
    pub fn run(self) -> Result<()> {
        let metrics = self.metrics.iter().map(|name| name.trim().parse()).collect::<Result<Vec<Metric>>>()?;
        let stop = signals::stop()?;
        let mut progress = self.show.progress();
        check_in_child(&self.samples)?;
        // What is missing is noticed before gigabytes are fetched.
        if published::known(&self.reference).is_some() {
            self.network.choice()?.check_weights()?;
            if !self.samples.exists() && self.samples != Path::new(EMOJI) {
                return Err(Error::file(&self.samples, "no such file or folder"));
            }
        }
        check_in_child(&self.reference)?;
        let reference = self.reference()?;
        let score = self.score(&reference, metrics)?;
        let measurement = score.open()?;
        self.notes(&measurement, &reference, &progress)?;
        let report = measurement.run(&mut progress, &stop)?;
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

    fn reference(&self) -> Result<Reference> {
        let split = self.reference_split.split();
        let selection = Selection { classes: Vec::new(), split, limit: self.reference_limit };
        let folder = self.reference_cache.as_ref().or(self.out.as_ref());
        let files = folder.map_or_else(Vec::new, |folder| references_in(folder));
        Reference::open_as(&self.reference, selection, self.pixels.asked()?)
            .map_err(|e| with_earlier(e, &self.reference, &files))
    }

    fn score<'a>(&self, reference: &'a Reference, metrics: Vec<Metric>) -> Result<Score<'a>> {
        let selection = Selection { classes: self.classes.clone(), split: None, limit: self.limit };
        let mut score = Score::of(&self.samples, reference)
            .with_metrics(metrics)
            .with_selection(selection)
            .with_network(self.network.choice()?)
            .with_device(self.network.device())
            .with_batch(self.extraction.batch());
        if let Some(pixels) = self.pixels.asked()? {
            score = score.with_pixels(pixels);
        }
        if self.bootstrap > 0 {
            score = score.with_bootstrap(Bootstrap { draws: self.bootstrap, ..Bootstrap::default() });
        }
        if self.reconstructions {
            score = score.of_reconstructions();
        }
        if self.extraction.restart {
            score = score.with_restart();
        }
        if let Some(out) = &self.out {
            score = score.with_features_in(out);
        }
        if let Some(folder) = &self.reference_cache {
            score = score.with_reference_features_in(folder);
        }
        Ok(score)
    }

    /// Says what was skipped or decided, and which flags have no effect.
    fn notes(&self, opened: &Measurement<'_>, reference: &Reference, progress: &Progress) -> Result<()> {
        let images = opened.reference().and_then(ImageSet::pictures);
        if let Some(set) = opened.samples().pictures() {
            note_selection(set, (self.pixels.asked()?, self.limit), ["--pixels", "--limit"], progress);
        }
        if let Some(set) = images.filter(|_| reference.statistics().is_none()) {
            note_selection(set, (None, self.reference_limit), ["--pixels", "--reference-limit"], progress);
        }
        if reference.statistics().is_some_and(|file| file.images) {
            let used = opened.reference().is_some();
            let rest = if used { "its images for the other metrics" } else { "no metric takes its images" };
            progress.note(&format!(
                "{}: a batch of statistics and images; Fréchet distances take its statistics, {rest}",
                self.reference.display()
            ));
        }
        opened.notes().iter().for_each(|note| progress.warn(note));
        if opened.extracts() {
            self.network.note_unused(progress);
        } else {
            let flags = [self.network.given(), self.extraction.given()].concat();
            without_effect(&flags, "both sets are features or statistics already", progress);
        }
        if self.reference_cache.is_some() && images.is_none() {
            without_effect(&["--reference-cache"], "the reference needs no features", progress);
        }
        if opened.reference().is_none() {
            let flags: Vec<&str> = [
                ("--reference-limit", self.reference_limit > 0),
                ("--reference-split", self.reference_split != Part::All),
            ]
            .into_iter()
            .filter(|&(_, given)| given)
            .map(|(flag, _)| flag)
            .collect();
            without_effect(&flags, "the statistics of the reference are used as a whole", progress);
        }
        let without: Vec<&str> =
            opened.metrics().into_iter().filter(|metric| !metric.has_interval()).map(Metric::name).collect();
        if self.bootstrap > 0 && !without.is_empty() {
            let why = format!("there are no intervals for {}", without.join(", "));
            without_effect(&["--bootstrap"], &why, progress);
        }
        Ok(())
    }
}
