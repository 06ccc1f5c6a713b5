//! Golden cases of `kind: var` and `kind: raster`, and the filters of `ops`.
//!
//! Cases of all sizes are computed completely. Those of the released sizes (`official_d16`) take gigabytes and minutes.
//! They are not committed; `cargo xtask golden --dir` checks them.

mod edit;
mod files;
mod raster;

use std::path::Path;

use serde_json::Value;
use tch::{Kind, Reduction, Tensor};
use var_tokenizer::golden::{self, Case, Check, FEATURES, IMAGES, LOSSES};
use var_tokenizer::weights::portable;
use var_tokenizer::{ScaleSchedule, VqVae};

use crate::cost;
use crate::error::{Error, Result};
use crate::sampling::filter::filter;
use crate::sampling::{Draws, Guidance, Sampler, SamplingOptions};
use crate::transformer::Initialisation;
use crate::{Order, Transformer, TransformerConfig};

/// From this depth on, features and logits have the tolerance [`DEEP_FEATURES`], because rounding adds up over the
/// blocks.
const DEEP: usize = 16;
/// Absolute plus relative tolerance of features and logits of deep models.
const DEEP_FEATURES: f64 = 1e-3;

/// Runs all checks of this crate on the case at `folder`; none for other kinds of cases.
///
/// # Errors
/// When the case cannot be read.
pub fn check(folder: &Path) -> Result<Vec<Check>> {
    let mut case = Case::open(folder)?;
    if matches!(case.text("kind"), "var" | "raster") {
        check_transformer(&mut case)?;
    } else if case.text("case") == "ops" {
        check_filters(&mut case);
        let tokenizer = "are for var-tokenizer";
        case.finish(&[("area.", tokenizer), ("bicubic.", tokenizer)]);
    }
    Ok(case.checks)
}

/// The transformer's configuration in a manifest.
///
/// # Errors
/// When a key is missing or the parts do not fit.
pub(crate) fn transformer_config(case: &Case) -> Result<TransformerConfig> {
    Ok(TransformerConfig {
        depth: case.number("depth")? as usize,
        width: case.number("width")? as usize,
        heads: case.number("heads")? as usize,
        classes: case.number("classes")? as usize,
        vocabulary: case.number("V")? as usize,
        latent_channels: case.number("z")? as usize,
        schedule: ScaleSchedule::new(case.numbers("patch_nums")?)?,
        order: if case.text("kind") == "raster" { Order::Raster } else { Order::NextScale },
        adaln: true,
        shared_adaln: case.flag("shared_aln"),
        qk_norm: case.flag("l2"),
        input: None,
    })
}

fn check_transformer(case: &mut Case) -> Result<()> {
    let config = transformer_config(case)?;
    let counted = cost::parameters(&config);
    let expected = case.number("params")?;
    case.record(
        "parameters by formula",
        Some(counted.abs_diff(expected) as f64),
        0.0,
        Some(counted.to_string()),
    );
    // Cases of the released sizes have no gradients.
    let gradients = !case.flag("big") || case.has("grad_norms");
    let (needed, free) =
        (memory(&config, case.number("batch")? as usize, gradients), var_tokenizer::memory::free());
    if needed > free {
        let why = format!("not checked: takes about {:.1} GB, {:.1} GB are free", needed / 1e9, free / 1e9);
        case.fail("everything but the formula", why);
        return Ok(());
    }
    let tokenizer = golden::tokenizer(case, "tokenizer_weights")?;
    let mut model = Transformer::new(&config, &Initialisation::default(), case.device, None)?;
    portable::fill(model.parameters_mut(), case.number("seed")? + 1);
    case.weights("weights", model.parameters());
    case.record(
        "parameters built",
        Some(model.parameters().count().abs_diff(expected) as f64),
        0.0,
        Some(model.parameters().count().to_string()),
    );
    let features = if config.depth >= DEEP { DEEP_FEATURES } else { FEATURES };
    let batch = case.number("batch")? as i64;
    let seed = case.number("seed")?;
    let labels = portable::integers("labels", seed, &[batch], config.classes as u64).to_device(case.device);
    let tokens = config.schedule.tokens() as i64;
    let ids =
        portable::integers("ids", seed, &[batch, tokens], config.vocabulary as u64).to_device(case.device);
    case.exact("labels", &labels);
    case.exact("ids", &ids);
    let subject = Subject { model, tokenizer, labels, ids, features };
    match config.order {
        Order::NextScale => check_scales(case, &subject, gradients)?,
        Order::Raster => raster::check(case, &subject, gradients)?,
    }
    files::check(case)?;
    case.finish(&[]);
    Ok(())
}

/// What a case is about: networks with portable weights, and the labels and ids of its teacher-forced pass.
struct Subject {
    model: Transformer,
    tokenizer: VqVae,
    labels: Tensor,
    ids: Tensor,
    /// Tolerance of features and logits.
    features: f64,
}

fn check_scales(case: &mut Case, subject: &Subject, gradients: bool) -> Result<()> {
    let Subject { model, tokenizer, labels, ids, features } = subject;
    let (config, features) = (model.config(), *features);
    let vectors = config.model_input(tokenizer.quantizer(), ids)?;
    case.close("model_input", &vectors, features);
    model.parameters().set_requires_grad(gradients);
    let (entropy, wrong) = teacher_forced(case, subject, &vectors)?;
    let scales = config.schedule.scales();
    let mean = |values: &Tensor, k: usize| {
        let range = config.schedule.range(k);
        values.narrow(1, range.start as i64, range.len() as i64).mean(Kind::Float)
    };
    case.relative("loss_last_scale", &mean(&entropy, scales - 1), LOSSES);
    let per_scale: Vec<Tensor> = (0..scales).map(|k| mean(&entropy, k)).collect();
    case.relative("loss_per_scale", &Tensor::stack(&per_scale, 0), LOSSES);
    case.relative("error_rate_last_scale", &mean(&wrong, scales - 1), LOSSES);
    if gradients {
        entropy.mean(Kind::Float).f_backward()?;
        case.gradients(model.parameters());
    }
    for k in 0..config.schedule.scales() {
        let name = format!("logits_prog{k}");
        if case.has(&name) {
            let first = ids.narrow(1, 0, config.schedule.seen(k) as i64);
            let vectors = tokenizer.quantizer().to_model_input(&first, k + 1)?;
            let logits = tch::no_grad(|| model.forward(labels, &vectors, k + 1, None))?;
            case.close(&name, &logits, features);
        }
    }
    let sampler = Sampler::new(model, tokenizer)?;
    check_sampling(case, &sampler, labels)?;
    edit::check(case, &sampler, tokenizer)
}

/// Compares what both orders have of the teacher-forced pass: logits, loss and error rate. Gives the cross-entropy, and 1
/// where another code is more likely, `[B, L]` each.
fn teacher_forced(case: &mut Case, subject: &Subject, vectors: &Tensor) -> Result<(Tensor, Tensor)> {
    let Subject { model, labels, ids, features, .. } = subject;
    let logits = model.forward(labels, vectors, model.config().steps(), None)?;
    let picked = match case.numbers("logit_positions") {
        Ok(positions) => {
            let positions: Vec<i64> = positions.iter().map(|&p| p as i64).collect();
            logits.index_select(1, &Tensor::from_slice(&positions).to_device(logits.device()))
        }
        Err(_) => logits.shallow_clone(),
    };
    case.close("logits", &picked, *features);
    let (rows, targets) = (logits.view([-1, model.config().vocabulary as i64]), ids.view([-1]));
    let entropy = rows.cross_entropy_loss::<Tensor>(&targets, None, Reduction::None, -100, 0.0).view_as(ids);
    case.relative("loss", &entropy.mean(Kind::Float), LOSSES);
    let smoothed = rows.cross_entropy_loss::<Tensor>(&targets, None, Reduction::Mean, -100, 0.1);
    case.relative("smoothed_loss", &smoothed, LOSSES);
    let wrong = logits.argmax(-1, false).not_equal_tensor(ids).to_kind(Kind::Float);
    case.relative("error_rate", &wrong.mean(Kind::Float), LOSSES);
    Ok((entropy, wrong))
}

fn check_sampling(case: &mut Case, sampler: &Sampler, labels: &Tensor) -> Result<()> {
    let runs = case.manifest.get("sampling").and_then(Value::as_object).cloned().unwrap_or_default();
    if runs.is_empty() {
        case.fail("sampling", "the manifest has no runs under 'sampling'");
    }
    let labels = Vec::<i64>::try_from(labels).map_err(Error::from)?;
    for (name, run) in &runs {
        let number = |key: &str| run.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let options = SamplingOptions {
            cfg: number("cfg"),
            guidance: match run.get("ramp").and_then(Value::as_bool) {
                Some(false) => Guidance::Constant,
                _ => Guidance::Ramp,
            },
            top_k: number("top_k") as usize,
            top_p: number("top_p"),
            more_smooth: run.get("more_smooth").and_then(Value::as_bool).unwrap_or(false),
            ..SamplingOptions::default()
        };
        let draws = Draws::new(number("draw_seed") as u64, (0..labels.len() as u64).collect());
        let sample = sampler.sample(&labels, &draws, &options)?;
        case.exact(&format!("sample.{name}.ids"), &sample.ids);
        case.close(&format!("sample.{name}.image"), &((sample.images + 1.0) * 0.5), IMAGES);
    }
    Ok(())
}

/// An upper estimate of the bytes that a case needs: weights, tensors kept by the training pass, and as much again for
/// temporary ones.
fn memory(config: &TransformerConfig, batch: usize, gradients: bool) -> f64 {
    let training = cost::training_memory(config, &cost::TrainingStep::plain(batch, 4));
    let kept = if gradients { training.gradients + training.activations } else { 0.0 };
    2.0 * training.parameters + kept
}

fn check_filters(case: &mut Case) {
    let names: Vec<String> =
        case.expected.keys().filter(|name| name.starts_with("filter.k")).cloned().collect();
    if names.is_empty() {
        case.fail("filters", "no filter.kK.pP in expected.safetensors");
    }
    let logits = portable::normal("ops.logits", 1, &[2, 3, 50]).to_device(case.device) * 2.0;
    for name in names {
        let Some((k, p)) = name.strip_prefix("filter.k").and_then(|rest| rest.split_once(".p")) else {
            continue;
        };
        let (Ok(k), Ok(p)) = (k.parse::<usize>(), p.parse::<f64>()) else { continue };
        let found = filter(&logits.view([-1, 50]), k, p).softmax(-1, None).view([2, 3, 50]);
        case.close(&name, &found, FEATURES);
    }
}
