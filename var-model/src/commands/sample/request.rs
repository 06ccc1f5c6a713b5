//! The request of `var-model sample`.

use std::path::PathBuf;

use var_tokenizer::command_line::Given;
use var_tokenizer::files::check_place;

use crate::error::{Error, Result};
use crate::outputs::scales::ScalesFile;
use crate::outputs::{self, Target};
use crate::rejection::RejectionRequest;
use crate::sampling::SamplingOptions;
use crate::source::ModelSource;

/// Maximum number of images of one call.
pub const MOST_PICTURES: usize = 1_000_000;
/// Maximum number of images to sample at once.
pub const MOST_AT_ONCE: usize = 1024;

/// The request of `var-model sample`.
#[derive(Debug)]
pub struct SampleRequest {
    /// Model, tokenizer and class names.
    pub source: ModelSource,
    /// Lists of classes as [`crate::ClassNames::labels`] takes them; empty: the first classes.
    pub classes: Vec<String>,
    /// Images per class.
    pub per_class: usize,
    /// How tokens are chosen.
    pub options: SamplingOptions,
    /// A smaller model that continues after the first scales.
    pub small: Option<SmallRequest>,
    /// Seed of the run.
    pub seed: u64,
    /// Maximum number of images to sample at once; fewer if their logits would take gigabytes.
    pub batch: usize,
    /// Where the images go.
    pub out: Vec<Target>,
    /// Files that show the first images after each scale.
    pub show_scales: Vec<ScalesFile>,
    /// Rejection sampling.
    pub rejection: Option<RejectionRequest>,
    /// Whether to resume an interrupted call.
    pub resume: bool,
    /// The flags that the user gave. Only for these, a note says that they have no effect.
    pub given: Given,
}

/// Draft and refine: the model samples the first scales, and a smaller one continues.
#[derive(Debug)]
pub struct SmallRequest {
    /// Run folder or model file.
    pub model: PathBuf,
    /// Number of scales of the first model.
    pub large_scales: usize,
}

impl SampleRequest {
    /// Checks the numbers and the places before any file is read.
    ///
    /// # Errors
    /// When an option is out of range, or a place cannot be written.
    pub(super) fn check(&self) -> Result<()> {
        self.options.validate()?;
        if !(1..=MOST_AT_ONCE).contains(&self.batch) {
            return Err(Error::Config(format!(
                "--batch is {}; it must be from 1 to {MOST_AT_ONCE}",
                self.batch
            )));
        }
        if let Some(rejection) = &self.rejection {
            rejection.validate()?;
            let file = &rejection.classifier;
            std::fs::File::open(file).map_err(|e| Error::io(file, e))?;
        }
        if self.out.is_empty() && self.show_scales.is_empty() {
            return Err(Error::Config("no place for the images; give --out or --show-scales".into()));
        }
        if self.resume && self.out.is_empty() {
            return Err(Error::Config(
                "--resume needs --out; only a folder or an archive can be resumed".into(),
            ));
        }
        for file in &self.show_scales {
            if self.out.iter().any(|target| target.path() == file.path()) {
                let both = file.path().display();
                return Err(Error::Config(format!(
                    "{both}: --out and --show-scales name the same file; name two"
                )));
            }
            check_place(file.path())?;
        }
        outputs::check(&self.out, self.resume)
    }
}
