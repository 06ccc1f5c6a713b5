//! What `var-model sample` is told, and which pictures that means.

use std::path::PathBuf;

use serde_json::{Value, json};
use tch::Device;

use crate::config::TransformerConfig;
use crate::error::{Error, Result};
use crate::outputs::{self, Plan, scales};
use crate::rejection::RejectionRequest;
use crate::sampling::{SamplingOptions, at_once, check_pair};
use crate::source::{ModelSource, Opened};
use var_tokenizer::TokenizerConfig;
use var_tokenizer::command_line::Given;
use var_tokenizer::files::sha256_of;

/// Classes when none are named.
const DEFAULT_CLASSES: usize = 8;
/// Most pictures of one call.
pub const MOST_PICTURES: usize = 1_000_000;
/// Most pictures that are sampled at once.
pub const MOST_AT_ONCE: usize = 1024;

/// How rows of an archive and a folder are ordered: [`Plan::row`].
const ROW_ORDER: &str = "round-robin";

/// What `var-model sample` is told.
#[derive(Debug)]
pub struct SampleRequest {
    /// Model, tokenizer and class names.
    pub source: ModelSource,
    /// Lists of classes as [`crate::ClassNames::labels`] takes them; empty: the first classes.
    pub classes: Vec<String>,
    /// Pictures a class.
    pub per_class: usize,
    /// How tokens are chosen.
    pub options: SamplingOptions,
    /// Seed of the run.
    pub seed: u64,
    /// Pictures sampled at once, at most; fewer where their logits would take gigabytes.
    pub batch: usize,
    /// Where the pictures go: `.png` a grid, `.npz` an archive, else a folder.
    pub out: Vec<PathBuf>,
    /// Files that show the first pictures after each scale: `.png`, `.gif`, `.apng`.
    pub show_scales: Vec<PathBuf>,
    /// Samples more and keeps the best.
    pub rejection: Option<RejectionRequest>,
    /// Continues an interrupted call.
    pub resume: bool,
    /// Which flags the person gave: what has no effect is reported for these.
    pub given: Given,
}

impl SampleRequest {
    /// Looks at numbers and places, before any file is read.
    ///
    /// # Errors
    /// When an option is out of range, or a place cannot be written.
    pub(super) fn check(&self) -> Result<()> {
        self.options.validate()?;
        if !(1..=MOST_AT_ONCE).contains(&self.batch) {
            return Err(Error::Config(format!("--batch {}: 1 to {MOST_AT_ONCE}", self.batch)));
        }
        if let Some(rejection) = &self.rejection {
            rejection.validate()?;
            let file = &rejection.classifier;
            std::fs::File::open(file).map_err(|e| var_tokenizer::Error::io(file, e))?;
        }
        if self.out.is_empty() && self.show_scales.is_empty() {
            return Err(Error::Config("give --out or --show-scales: a place for the pictures".into()));
        }
        if self.resume && self.out.is_empty() {
            return Err(Error::Config("--resume: only what --out names can be resumed".into()));
        }
        if let Some(both) = self.out.iter().find(|path| self.show_scales.contains(path)) {
            return Err(Error::Config(format!(
                "{}: --out and --show-scales name the same file",
                both.display()
            )));
        }
        outputs::check_places(&self.out, self.resume)?;
        scales::check(&self.show_scales)
    }
}

/// A request and what its model says to it: all that is known before weights are loaded.
#[derive(Debug)]
pub(super) struct Job {
    pub config: TransformerConfig,
    pub tokenizer: TokenizerConfig,
    pub plan: Plan,
    /// Candidates a class; pictures a class where none are rejected.
    pub candidates: usize,
    /// Pictures sampled at once.
    pub at_once: usize,
}

impl Job {
    /// Works out what the request means for the model that was opened.
    ///
    /// # Errors
    /// When a file is missing or does not fit, a class is unknown, or there are too many pictures.
    pub fn new(request: &SampleRequest, opened: &Opened) -> Result<Self> {
        let (config, tokenizer) = (opened.config.clone(), opened.tokenizer_config.clone());
        check_pair(&config, &tokenizer)?;
        let names = opened.names.clone();
        let labels = if request.classes.is_empty() {
            (0..config.classes.min(DEFAULT_CLASSES) as i64).collect::<Vec<i64>>()
        } else {
            names.labels(&request.classes)?
        };
        let candidates =
            request.rejection.as_ref().map_or(request.per_class, |r| r.candidates(request.per_class));
        let pictures = labels.len().checked_mul(candidates);
        if !pictures.is_some_and(|n| (1..=MOST_PICTURES).contains(&n)) {
            return Err(Error::Config(format!(
                "{} classes with --per-class {}{}: at least 1 and at most {MOST_PICTURES} pictures; sample in several \
                 calls",
                labels.len(),
                request.per_class,
                if request.rejection.is_some() {
                    format!(" of {candidates} candidates")
                } else {
                    String::new()
                }
            )));
        }
        if request.rejection.is_some() && labels.contains(&(config.classes as i64)) {
            return Err(Error::Config(
                "--keep: the class none has no probability to choose by; omit one of the two".into(),
            ));
        }
        let at_once = at_once(&config, request.batch);
        let plan = Plan {
            labels,
            names,
            per_class: request.per_class,
            side: tokenizer.image_side(),
            chosen: request.rejection.is_some(),
        };
        Ok(Self { config, tokenizer, plan, candidates, at_once })
    }

    /// Pictures that are sampled, rejected ones included.
    pub fn sampled(&self) -> usize {
        self.plan.labels.len() * self.candidates
    }

    /// Pictures that belong together: a call goes on at a multiple of them.
    pub fn unit(&self) -> usize {
        if self.plan.chosen { self.plan.per_class } else { self.at_once }
    }

    /// All that the pictures depend on.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn settings(
        &self,
        request: &SampleRequest,
        opened: &Opened,
        device: Device,
        precision: &str,
    ) -> Result<Value> {
        let (model, tokenizer) = opened.fingerprints()?;
        let rejection = match &request.rejection {
            None => Value::Null,
            Some(r) => json!({
                "keep": r.keep, "candidates": self.candidates, "size": r.size, "mean": r.mean, "std": r.deviation,
                "classifier": {
                    "file": r.classifier.display().to_string(), "sha256": sha256_of(&r.classifier)?,
                },
            }),
        };
        let names: Vec<&str> = self.plan.labels.iter().map(|&label| self.plan.names.name(label)).collect();
        Ok(json!({
            "program": concat!("var-model ", env!("CARGO_PKG_VERSION")),
            "model": model, "tokenizer": tokenizer,
            "classes": self.plan.labels, "class_names": names, "per_class": self.plan.per_class,
            "seed": request.seed, "sampling": request.options, "batch": self.at_once,
            "precision": precision,
            "device": match device {
                Device::Cuda(index) => format!("cuda:{index}"),
                _ => "cpu".to_owned(),
            },
            "rejection": rejection,
            "pictures": self.plan.pictures(), "side": self.plan.side, "order": ROW_ORDER,
        }))
    }
}
