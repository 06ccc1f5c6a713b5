//! Model, tokenizer and class names, as a person names them.

use std::path::PathBuf;

use tch::Kind;
use var_tokenizer::torch::{DeviceChoice, Precision};
use var_tokenizer::{VqVae, builtin};

use crate::error::{Error, Result};
use crate::transformer::Transformer;

/// Where to find a model and what goes with it.
#[derive(Debug, Default)]
pub struct ModelSource {
    /// Run folder with `model.safetensors`, `tokenizer.safetensors` and `classes.json`.
    pub run: Option<PathBuf>,
    /// Model file, instead of a run folder.
    pub model: Option<PathBuf>,
    /// Tokenizer file or `builtin`; by default the run folder's.
    pub tokenizer: Option<String>,
    /// Where to compute.
    pub device: DeviceChoice,
    /// In what precision.
    pub precision: Precision,
}

/// A model and its tokenizer, ready to sample.
#[derive(Debug)]
pub struct Loaded {
    /// The transformer, in the kind it computes in.
    pub model: Transformer,
    /// The tokenizer, likewise.
    pub tokenizer: VqVae,
    /// Names of the classes, by number; empty when nobody named them.
    pub names: Vec<String>,
}

impl ModelSource {
    /// Loads all of it, for sampling `batch` pictures at once.
    ///
    /// # Errors
    /// When a file is missing, damaged, or does not fit the others.
    pub fn load(&self, batch: usize) -> Result<Loaded> {
        let (path, tokenizer, names) = self.locate()?;
        let device = self.device.resolve()?;
        let mut model = Transformer::load(&path, device)?;
        let mut tokenizer = builtin::open(&tokenizer, device)?.tokenizer;
        let config = model.config();
        let last_scale = config.schedule.range(config.schedule.scales() - 1).len();
        let product = [(batch.min(64) * last_scale) as i64, config.width as i64, 4 * config.width as i64];
        let kind: Kind = self.precision.resolve(device, product)?;
        model.set_compute_kind(kind);
        model.freeze();
        tokenizer.set_compute_kind(kind);
        tokenizer.freeze();
        Ok(Loaded { model, tokenizer, names })
    }

    /// Model file, tokenizer and class names.
    pub(crate) fn locate(&self) -> Result<(PathBuf, String, Vec<String>)> {
        let Some(run) = &self.run else {
            let model = self.model.clone().ok_or_else(|| Error::Config("give --run or --model".into()))?;
            let tokenizer = self.tokenizer.clone().unwrap_or_else(|| builtin::NAME.into());
            return Ok((model, tokenizer, Vec::new()));
        };
        let model = run.join("model.safetensors");
        if !model.exists() {
            let why = if run.exists() {
                "no finished model in this run folder; train it first, or resume it"
            } else {
                "no such run folder"
            };
            return Err(var_tokenizer::Error::file(run, why).into());
        }
        let own = run.join("tokenizer.safetensors").display().to_string();
        let names = std::fs::read_to_string(run.join("classes.json"))
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        Ok((model, self.tokenizer.clone().unwrap_or(own), names))
    }
}
