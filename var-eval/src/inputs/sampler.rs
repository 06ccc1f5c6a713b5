//! How images were sampled: the settings that `var-model sample` writes next to them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use var_tokenizer::files::with_suffix;

use crate::error::{Error, Result};

/// The settings of a sampler that scores depend on. All are optional, because other programs write less.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Sampler {
    /// Name and version of the program that sampled.
    pub program: Option<String>,
    /// SHA-256 of the transformer's file.
    pub model_sha256: Option<String>,
    /// SHA-256 of the tokenizer's file.
    pub tokenizer_sha256: Option<String>,
    /// Guidance at the last scale.
    pub cfg: Option<f64>,
    /// How guidance runs along the scales: `ramp` or `constant`.
    pub guidance: Option<String>,
    /// Number of codes to draw from; 0: all.
    pub top_k: Option<u64>,
    /// Total probability of the codes to draw from; 0: all.
    pub top_p: Option<f64>,
    /// Divisor of the logits, if it is the same at all scales.
    pub temperature: Option<f64>,
    /// Divisors of the logits by scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperatures: Option<Vec<f64>>,
    /// The scales with guidance, such as `1-8`; `None`: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guided_scales: Option<String>,
    /// SHA-256 of the smaller model that continued; `None`: one model sampled all scales.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub small_model_sha256: Option<String>,
    /// Number of scales before the smaller model continued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub large_scales: Option<u64>,
    /// Whether code vectors were mixed by a Gumbel softmax.
    pub more_smooth: Option<bool>,
    /// Seed of the run.
    pub seed: Option<u64>,
    /// Images per class.
    pub per_class: Option<u64>,
    /// Precision, `f32` or `bf16`.
    pub precision: Option<String>,
    /// Share of candidates that a classifier kept; `None` without rejection.
    pub kept: Option<f64>,
}

impl Sampler {
    /// The settings next to the images at `path`: `settings.json` in a folder, `PATH.json` next to a file.
    /// `None` if there are none.
    ///
    /// # Errors
    /// When the file cannot be read or holds no JSON object.
    pub(crate) fn beside(path: &Path) -> Result<Option<Self>> {
        let file = settings_path(path);
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&file, e)),
        };
        let value: Value = serde_json::from_slice(&text).map_err(|e| {
            Error::file(
                &file,
                format!("expected the settings of a sampler as JSON: {e}; repair or remove it"),
            )
        })?;
        Ok(value.get("sampling").is_some().then(|| Self::of(&value)))
    }

    fn of(value: &Value) -> Self {
        let text = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let number = |pointer: &str| value.pointer(pointer).and_then(Value::as_f64);
        let whole = |pointer: &str| value.pointer(pointer).and_then(Value::as_u64);
        Self {
            program: text("/program"),
            model_sha256: text("/model/sha256"),
            tokenizer_sha256: text("/tokenizer/sha256"),
            cfg: number("/sampling/cfg"),
            guidance: text("/sampling/guidance"),
            top_k: whole("/sampling/top_k"),
            top_p: number("/sampling/top_p"),
            temperature: number("/sampling/temperature"),
            temperatures: value
                .pointer("/sampling/temperature")
                .and_then(Value::as_array)
                .map(|list| list.iter().filter_map(Value::as_f64).collect()),
            guided_scales: text("/sampling/guided_scales"),
            small_model_sha256: text("/small/model/sha256"),
            large_scales: whole("/small/large_scales"),
            more_smooth: value.pointer("/sampling/more_smooth").and_then(Value::as_bool),
            seed: whole("/seed"),
            per_class: whole("/per_class"),
            precision: text("/precision"),
            kept: number("/rejection/keep"),
        }
    }
}

/// The file with the settings of the samples at `path`.
fn settings_path(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("settings.json") } else { with_suffix(path, ".json") }
}
