//! Finds the model, the tokenizer and the class names that the user names.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tch::{Device, Kind};
use var_tokenizer::files::sha256_of;
use var_tokenizer::hub::{self, Remote};
use var_tokenizer::torch::{DeviceChoice, Precision};
use var_tokenizer::weights::{Role, StateDict, shards};
use var_tokenizer::{ScaleSchedule, TokenizerConfig, VqVae};

use crate::builtin;
use crate::classes::ClassNames;
use crate::config::TransformerConfig;
use crate::error::{Error, Result};
use crate::sampling::Sampler;
use crate::transformer::Transformer;

/// Where to find a model, its tokenizer and its class names; and how to compute.
#[derive(Debug, Default)]
pub struct ModelSource {
    /// Run folder with `model.safetensors`, `tokenizer.safetensors` and `classes.json`.
    pub run: Option<PathBuf>,
    /// Use the run folder's averaged weights, `model-ema.safetensors`.
    pub ema: bool,
    /// Model file of any layout, a published name or `builtin`, instead of a run folder. If there is neither: `builtin`.
    pub model: Option<PathBuf>,
    /// Which part of the model file, if it has several models.
    pub part: Option<String>,
    /// Tokenizer file of any layout, a published name or `builtin`; by default that of the run folder, that with which a
    /// published model was trained, or that in the model file if it is a trainer's checkpoint.
    pub tokenizer: Option<String>,
    /// Sides of the token maps, if the files do not contain them or contain others.
    pub schedule: Option<ScaleSchedule>,
    /// File of class names, instead of the names next to the model.
    pub class_names: Option<PathBuf>,
    /// Number of heads of the transformer, if the files do not contain it.
    pub heads: Option<usize>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// The precision to compute in.
    pub precision: Precision,
}

/// A file in settings and records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileDigest {
    /// Its path, or `builtin`.
    pub file: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl FileDigest {
    /// Reads the file at `path` once.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        Ok(Self { file: path.display().to_string(), sha256: sha256_of(path)? })
    }
}

/// The opened files: names and shapes are read, values are not.
#[derive(Debug)]
pub(crate) struct Opened {
    /// The transformer's file, or `builtin`.
    pub model_path: PathBuf,
    /// The transformer's tensors.
    pub model: StateDict,
    /// Its configuration.
    pub config: TransformerConfig,
    /// The tokenizer's file, or `builtin`.
    pub tokenizer_name: String,
    /// The tokenizer's tensors.
    pub tokenizer: StateDict,
    /// Its configuration.
    pub tokenizer_config: TokenizerConfig,
    /// Names of the classes.
    pub names: ClassNames,
    /// The user named no model.
    unnamed: bool,
}

/// A model and its tokenizer, ready to sample.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The transformer, stored in the type that it computes in.
    pub model: Transformer,
    /// The tokenizer, stored in the same way.
    pub tokenizer: VqVae,
}

impl ModelSource {
    /// The model at `path`: `builtin`, a run folder, or a model file of any layout.
    ///
    /// # Errors
    /// When an index of several files is damaged.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let is_run = !builtin::is_named(path) && path.is_dir() && shards::index_of(path)?.is_none();
        let path = Some(path.to_owned());
        Ok(if is_run {
            Self { run: path, ..Self::default() }
        } else {
            Self { model: path, ..Self::default() }
        })
    }

    /// Opens both files and finds the configurations. Takes no memory for weights. Fetches published weights that are not on
    /// this machine.
    ///
    /// # Errors
    /// When a file is missing, damaged, lacks information, or cannot be fetched.
    pub(crate) fn open(&self) -> Result<Opened> {
        let (model_path, tokenizer, names) = self.locate()?;
        let mut checkpoint = builtin::checkpoint(&model_path)?;
        if let Some(part) = &self.part {
            checkpoint.choose(part)?;
        }
        let schedule = self.schedule.clone().or_else(|| ScaleSchedule::stated_in(&checkpoint));
        let model = checkpoint.take(Role::Transformer)?;
        let config = TransformerConfig::of(&model, schedule.as_ref(), self.heads)?;
        let (tokenizer_name, (tokenizer, mut tokenizer_config)) = match tokenizer {
            Some(name) => {
                let found = var_tokenizer::builtin::weights(&name, Some(&config.schedule))?;
                (name, found)
            }
            // A trainer's checkpoint has both.
            None => {
                if !checkpoint.parts.values().any(|dict| Role::of(dict) == Some(Role::Tokenizer)) {
                    return Err(Error::Config(format!(
                        "{} holds no tokenizer next to the model; name a tokenizer file, or `builtin`",
                        model_path.display()
                    )));
                }
                let dict = checkpoint.take(Role::Tokenizer)?;
                let config = TokenizerConfig::of(&dict, Some(&config.schedule))?;
                (model_path.display().to_string(), (dict, config))
            }
        };
        if let Some(schedule) = &self.schedule {
            tokenizer_config.schedule = schedule.clone();
        }
        let names = match &self.class_names {
            Some(path) => ClassNames::read(path, config.classes)?,
            None => ClassNames::new(names, config.classes)?,
        };
        let unnamed = self.run.is_none() && self.model.is_none();
        Ok(Opened { model_path, model, config, tokenizer_name, tokenizer, tokenizer_config, names, unnamed })
    }

    /// The type to compute in on `device`, for sampling `batch` images at once.
    ///
    /// # Errors
    /// When the device does not support it.
    pub(crate) fn compute_kind(&self, opened: &Opened, device: Device, batch: usize) -> Result<Kind> {
        self.kind_for(&opened.config, device, batch)
    }

    /// The same for a model of `config`.
    ///
    /// # Errors
    /// When the device does not support it.
    pub(crate) fn kind_for(&self, config: &TransformerConfig, device: Device, batch: usize) -> Result<Kind> {
        let last_scale = config.largest_step();
        let product = [(batch.min(64) * last_scale) as i64, config.width as i64, 4 * config.width as i64];
        self.precision.resolve(device, product)
    }

    /// Model file, tokenizer and class names.
    fn locate(&self) -> Result<(PathBuf, Option<String>, Vec<String>)> {
        let Some(run) = &self.run else {
            if self.ema {
                return Err(Error::Config("averaged weights need a run folder; name one".into()));
            }
            let model = self.model.clone().unwrap_or_else(|| builtin::NAME.into());
            if builtin::is_named(&model) {
                let tokenizer = self.tokenizer.clone().unwrap_or_else(|| builtin::NAME.into());
                return Ok((model, Some(tokenizer), builtin::class_names()?));
            }
            let Some(remote) = model.to_str().map(Remote::named).transpose()?.flatten() else {
                return Ok((model, self.tokenizer.clone(), Vec::new()));
            };
            let model = hub::fetch(&remote)?;
            // A published model brings the tokenizer that it was trained with.
            let own = remote.weights().and_then(|weights| weights.tokenizer());
            let tokenizer = self.tokenizer.clone().or_else(|| own.map(|own| own.name.to_owned()));
            let tokenizer = tokenizer.map(|name| hub::local(&name)).transpose()?;
            return Ok((model, tokenizer, Vec::new()));
        };
        let model = run.join("model.safetensors");
        if !model.exists() {
            return Err(Error::file(run, why_no_model(run)));
        }
        let model = if self.ema { run.join("model-ema.safetensors") } else { model };
        if !model.exists() {
            let why = "no averaged weights (model-ema.safetensors) in this run folder: it was trained without the \
                       setting `ema`; use its plain weights";
            return Err(Error::file(run, why));
        }
        let own = run.join("tokenizer.safetensors").display().to_string();
        Ok((model, Some(self.tokenizer.clone().unwrap_or(own)), class_names(&run.join("classes.json"))?))
    }
}

/// Why the folder `run` has no model.
fn why_no_model(run: &Path) -> &'static str {
    let there = |name: &str| run.join(name).exists();
    let config = std::fs::read_to_string(run.join("config.toml")).unwrap_or_default();
    if !run.exists() {
        "no such run folder; name a folder that `var-train model` wrote"
    } else if there("sweep.json") {
        "is a sweep; name one of its runs, below runs/"
    } else if there("state.json") {
        "is a checkpoint; name the run folder above it"
    } else if config.lines().any(|line| line.trim() == "kind = \"tokenizer\"") {
        "is the run of a tokenizer; name a run of `var-train model`"
    } else if there("config.toml") || there("metrics.jsonl") {
        "no finished model in this run folder; train it first, or resume it"
    } else {
        "is not a run folder; name a folder that `var-train model` wrote"
    }
}

/// The list of names at `path`; empty if there is no file.
fn class_names(path: &Path) -> Result<Vec<String>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(path, e)),
    };
    serde_json::from_str(&text)
        .map_err(|e| Error::file(path, format!("is not a list of class names ({e}); repair it or remove it")))
}

impl Opened {
    /// Notes for the user on how the tensors were found, one line each.
    pub(crate) fn notes(&self) -> Vec<String> {
        let of = |dict: &StateDict| -> Vec<String> {
            dict.notes.iter().map(|note| format!("note: {}: {note}", dict.name)).collect()
        };
        let unnamed = self.unnamed.then(|| {
            "note: no model is named: this is the built-in one, for emoji of 32 × 32 pixels".to_owned()
        });
        unnamed.into_iter().chain(of(&self.model)).chain(of(&self.tokenizer)).collect()
    }

    /// Name and SHA-256 of both files, for settings and records.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn fingerprints(&self) -> Result<(FileDigest, FileDigest)> {
        // In parallel: each file can have gigabytes.
        let (model, tokenizer) =
            rayon::join(|| self.model_digest(), || var_tokenizer::builtin::digest(&self.tokenizer_name));
        Ok((model?, FileDigest { file: self.tokenizer_name.clone(), sha256: tokenizer? }))
    }

    /// Name and SHA-256 of the transformer's file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn model_digest(&self) -> Result<FileDigest> {
        let sha256 = builtin::digest(&self.model_path)?;
        Ok(FileDigest { file: self.model_path.display().to_string(), sha256 })
    }

    /// A sampler of `model` and `tokenizer`, which [`Self::load`] gave. Its errors name the files.
    ///
    /// # Errors
    /// When the two do not fit together.
    pub(crate) fn sampler<'a>(&self, model: &'a Transformer, tokenizer: &'a VqVae) -> Result<Sampler<'a>> {
        let names = (self.model_path.display().to_string(), self.tokenizer_name.clone());
        Ok(Sampler::new(model, tokenizer)?.named(names.0, names.1))
    }

    /// Loads the weights in `kind`. Needs no more memory than these.
    ///
    /// # Errors
    /// When the tensors do not fit the configurations, or a file cannot be read.
    pub(crate) fn load(&self, device: Device, kind: Kind) -> Result<Loaded> {
        let model = self.load_model(device, kind)?;
        let tokenizer = VqVae::for_inference(&self.tokenizer, &self.tokenizer_config, device, kind)?;
        Ok(Loaded { model, tokenizer })
    }

    /// As [`Opened::load`], the transformer alone.
    ///
    /// # Errors
    /// As [`Opened::load`].
    pub(crate) fn load_model(&self, device: Device, kind: Kind) -> Result<Transformer> {
        Transformer::for_inference(&self.model, &self.config, device, kind)
    }
}
