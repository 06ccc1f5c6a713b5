//! `var-model convert`: converts weights from one layout to another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use var_tokenizer::error::NotFinite;
use var_tokenizer::files::check_place;
use var_tokenizer::weights::pickle::writer;
use var_tokenizer::weights::state_dict::type_name;
use var_tokenizer::weights::{Checkpoint, Role, safetensors};
use var_tokenizer::{ScaleSchedule, TokenizerConfig, VqVae};

use crate::builtin;
use crate::config::{Standardisation, TransformerConfig};
use crate::error::{Error, Result};
use crate::transformer::Transformer;

/// The request of `var-model convert`.
#[derive(Debug)]
pub struct ConvertRequest {
    /// The file to read.
    pub from: PathBuf,
    /// The file to write; `.pth` or `.safetensors`.
    pub to: PathBuf,
    /// Which part, if the file has several: its key, `model` or `tokenizer`.
    pub part: Option<String>,
    /// Type of the written values; `None`: the type in the file.
    pub kind: Option<Kind>,
    /// Sides of the token maps, if the file does not contain them.
    pub schedule: Option<ScaleSchedule>,
    /// Number of heads, if the file does not contain it.
    pub heads: Option<usize>,
    /// Whether the tokenizer looks up codes by cosine; its tensors do not say it.
    pub z_norm: bool,
}

/// The layout to write.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Torch,
    Safetensors,
}

/// Converts a file. Returns a summary, the result of `--json`, and notes for the user.
///
/// # Errors
/// When the file cannot be read, holds something else, its tensors do not fit together, or the new file
/// cannot be written.
pub fn convert(request: &ConvertRequest) -> Result<(Value, Vec<String>)> {
    let target = target(&request.to)?;
    check_place(&request.to)?;
    let real = |path: &Path| path.canonicalize().ok();
    if real(&request.to).is_some_and(|to| Some(to) == real(&request.from)) {
        return Err(Error::file(&request.to, "input and output are the same file; name another output"));
    }
    let mut checkpoint = builtin::checkpoint(&request.from)?;
    let role = match &request.part {
        Some(part) => checkpoint.choose(part)?,
        None => only_role(&checkpoint, &request.from)?,
    };
    let schedule = request.schedule.clone().or_else(|| ScaleSchedule::stated_in(&checkpoint));
    let dict = checkpoint.take(role)?;
    let kind = request.kind.or_else(|| dict.tensors.values().map(|t| t.kind()).find(is_float));
    let mut notes = dict.notes.clone();
    // A transformer's .pth also gets the buffers of the published code.
    let (mut tensors, metadata, buffers) = match role {
        Role::Transformer => {
            let mut config = TransformerConfig::of(&dict, schedule.as_ref(), request.heads)?;
            let input = if target == Target::Torch { config.input.take() } else { None };
            let model = Transformer::of(&dict, &config, Device::Cpu)?;
            let metadata = model.metadata()?;
            let mut tensors = model.parameters().to_map();
            if let Some(input) = input {
                fold(&mut tensors, &input);
                notes.push("the standardisation of input vectors is merged into word_embed".to_owned());
            }
            (tensors, metadata, Some(config))
        }
        Role::Tokenizer => {
            let mut config = TokenizerConfig::of(&dict, schedule.as_ref())?;
            config.z_norm |= request.z_norm;
            if let Some(schedule) = &request.schedule {
                config.schedule = schedule.clone();
            }
            let vae = VqVae::of(&dict, &config, Device::Cpu)?;
            if target == Target::Torch && config.z_norm {
                notes.push(
                    "a .pth does not say that codes are looked up by cosine; give --z-norm to programs that read it"
                        .into(),
                );
            }
            (vae.parameters().to_map(), vae.metadata()?, None)
        }
    };
    // What else the file says of the weights, such as the network of a perceptual loss.
    let metadata: BTreeMap<String, String> = dict.metadata.clone().into_iter().chain(metadata).collect();
    tensors = finished(tensors, kind, &dict.name)?;
    let values: usize = tensors.values().map(Tensor::numel).sum();
    match target {
        Target::Safetensors => drop(safetensors::write(&request.to, &tensors, &metadata)?),
        Target::Torch => {
            tensors.extend(
                buffers.iter().flat_map(|config| published_buffers(config, kind.unwrap_or(Kind::Float))),
            );
            writer::write(&request.to, &tensors.into_iter().collect::<Vec<_>>())?;
        }
    }
    let summary = json!({
        "event": "done", "role": role.to_string(), "values": values,
        "from": request.from.display().to_string(), "out": request.to.display().to_string(),
    });
    Ok((summary, notes))
}

/// The tensors with their values in `kind`. Converts one after the other, so that only one tensor is in memory twice.
/// Errors name `file`.
///
/// # Errors
/// When a value is too large for `kind`; names the tensor.
pub(super) fn finished(
    mut tensors: BTreeMap<String, Tensor>,
    kind: Option<Kind>,
    file: &str,
) -> Result<BTreeMap<String, Tensor>> {
    let Some(kind) = kind else { return Ok(tensors) };
    for (name, tensor) in tensors.iter_mut().filter(|(_, tensor)| is_float(&tensor.kind())) {
        *tensor = tensor.to_kind(kind);
        if let Some(found) = NotFinite::in_tensor(tensor)? {
            let why = format!("tensor {name}: {found} as {}; choose a wider --dtype", type_name(kind));
            return Err(Error::file(file, why));
        }
    }
    Ok(tensors)
}

fn is_float(kind: &Kind) -> bool {
    matches!(kind, Kind::Float | Kind::Double | Kind::Half | Kind::BFloat16)
}

fn target(path: &Path) -> Result<Target> {
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("pth" | "pt" | "ckpt") => Ok(Target::Torch),
        Some("safetensors") => Ok(Target::Safetensors),
        _ => Err(Error::Config(format!("{}: the name must end in .pth or .safetensors", path.display()))),
    }
}

/// The role of the file's tensors, if all have the same.
fn only_role(checkpoint: &Checkpoint, path: &Path) -> Result<Role> {
    let mut roles: Vec<Role> = Vec::new();
    for role in checkpoint.parts.values().filter_map(Role::of) {
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    match roles.as_slice() {
        [role] => Ok(*role),
        // Its error says what the file has instead.
        [] => checkpoint.part(Role::Transformer).map(|_| Role::Transformer),
        _ => Err(Error::Config(format!(
            "{}: has a model and a tokenizer; give --part model or --part tokenizer, or name one of {}",
            path.display(),
            checkpoint.listed(None)
        ))),
    }
}

/// Puts `(x − mean)/deviation` before `word_embed` into its weight and bias.
fn fold(tensors: &mut BTreeMap<String, Tensor>, input: &Standardisation) {
    let (Some(weight), Some(bias)) = (tensors.get("word_embed.weight"), tensors.get("word_embed.bias"))
    else {
        return;
    };
    let (weight, bias) = (weight.to_kind(Kind::Double), bias.to_kind(Kind::Double));
    let numbers = |values: &[f32]| Tensor::from_slice(values).to_kind(Kind::Double);
    let (mean, deviation) = (numbers(&input.mean), numbers(&input.deviation));
    let weight = weight / deviation;
    let bias = bias - weight.mv(&mean);
    tensors.insert("word_embed.weight".into(), weight.to_kind(Kind::Float));
    tensors.insert("word_embed.bias".into(), bias.to_kind(Kind::Float));
}

/// Buffers without weights that the published code expects when it loads strictly.
pub(super) fn published_buffers(config: &TransformerConfig, kind: Kind) -> Vec<(String, Tensor)> {
    let steps: Vec<i64> = (0..config.steps()).flat_map(|k| config.step(k).map(move |_| k as i64)).collect();
    let steps = Tensor::from_slice(&steps);
    let tokens = config.schedule.tokens() as i64;
    let options = (kind, Device::Cpu);
    let hidden = steps.view([tokens, 1]).lt_tensor(&steps.view([1, tokens]));
    let mask = Tensor::zeros([tokens, tokens], options).masked_fill(&hidden, f64::NEG_INFINITY);
    let mut buffers = vec![
        ("lvl_1L".to_owned(), config.scale_of_positions().view([1, tokens])),
        ("attn_bias_for_masking".to_owned(), mask.view([1, 1, tokens, tokens])),
    ];
    buffers
        .extend((0..config.depth).map(|i| {
            (format!("blocks.{i}.attn.zero_k_bias"), Tensor::zeros([config.width as i64], options))
        }));
    buffers
}
