//! What can be known of model and tokenizer without their weights.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use var_tokenizer::files::{sha256, sha256_of};
use var_tokenizer::weights::safetensors::{self, Contents};
use var_tokenizer::{TokenizerConfig, builtin};

use crate::config::TransformerConfig;
use crate::error::Result;
use crate::source::ModelSource;

/// Configurations of transformer and tokenizer, read from the heads of their files.
///
/// # Errors
/// When a file is missing, damaged or of another kind.
pub fn configurations(source: &ModelSource) -> Result<(TransformerConfig, TokenizerConfig)> {
    let (model, tokenizer, _) = source.locate()?;
    let transformer: TransformerConfig =
        safetensors::read_metadata(&model)?.config(crate::transformer::CONFIG_KEY, &model)?;
    transformer.validate()?;
    let path = Path::new(&tokenizer);
    let contents: Contents = if tokenizer == builtin::NAME {
        safetensors::parse(&builtin::bytes(&tokenizer)?, path)?
    } else {
        safetensors::read_metadata(path)?
    };
    let tokenizer: TokenizerConfig = contents.config(var_tokenizer::vqvae::CONFIG_KEY, path)?;
    tokenizer.validate()?;
    Ok((transformer, tokenizer))
}

/// Names of the classes that go with the model; empty when nobody named them.
///
/// # Errors
/// When there is no model.
pub fn names(source: &ModelSource) -> Result<Vec<String>> {
    Ok(source.locate()?.2)
}

/// Model and tokenizer by name and SHA-256, as settings keep them.
///
/// # Errors
/// When a file cannot be read.
pub fn fingerprints(source: &ModelSource) -> Result<(Value, Value)> {
    let (model, tokenizer, _) = source.locate()?;
    let sum = if tokenizer == builtin::NAME {
        sha256(&builtin::bytes(&tokenizer)?)
    } else {
        sha256_of(Path::new(&tokenizer))?
    };
    let named = |file: PathBuf, sum: String| json!({"file": file.display().to_string(), "sha256": sum});
    let model_sum = sha256_of(&model)?;
    Ok((named(model, model_sum), named(tokenizer.into(), sum)))
}
