//! What the subcommands do, apart from reading flags.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tch::{Kind, Tensor};
use var_tokenizer::builtin;
use var_tokenizer::images::Grid;
use var_tokenizer::torch::{DeviceChoice, Precision};

use crate::config::TransformerConfig;
use crate::cost;
use crate::error::{Error, Result};
use crate::sampling::{Draws, Sampler, SamplingOptions};
use crate::transformer::Transformer;

/// Classes in a grid when none are named.
const DEFAULT_CLASSES: usize = 8;

/// What `var-model sample` is told.
#[derive(Debug)]
pub struct SampleRequest {
    /// Run folder with `model.safetensors`, `tokenizer.safetensors` and `classes.json`.
    pub run: Option<PathBuf>,
    /// Model file, instead of a run folder.
    pub model: Option<PathBuf>,
    /// Tokenizer file or `builtin`.
    pub tokenizer: Option<String>,
    /// Classes by number or name.
    pub classes: Vec<String>,
    /// Pictures a class.
    pub per_class: usize,
    /// How tokens are chosen.
    pub options: SamplingOptions,
    /// Seed of the run.
    pub seed: u64,
    /// Pictures sampled at once.
    pub batch: usize,
    /// Grid file.
    pub out: PathBuf,
    /// Where to compute.
    pub device: DeviceChoice,
    /// In what precision.
    pub precision: Precision,
    /// No progress.
    pub quiet: bool,
}

/// Samples a grid, a row a class.
///
/// # Errors
/// When a file is missing or does not fit, a class is unknown, or the grid cannot be written.
pub fn sample(request: &SampleRequest) -> Result<()> {
    request.options.validate()?;
    if request.per_class == 0 || request.batch == 0 {
        return Err(Error::Config("--per-class and --batch must be at least 1".into()));
    }
    let (model_path, tokenizer, names) = locate(request)?;
    let device = request.device.resolve()?;
    let mut model = Transformer::load(&model_path, device)?;
    let mut tokenizer = builtin::open(&tokenizer, device)?.tokenizer;
    let config = model.config().clone();
    let labels = chosen_classes(&request.classes, &names, config.classes)?;
    let rows = (request.batch.min(64) * config.schedule.range(config.schedule.scales() - 1).len()) as i64;
    let kind = request.precision.resolve(device, [rows, config.width as i64, 4 * config.width as i64])?;
    model.set_compute_kind(kind);
    model.freeze();
    tokenizer.set_compute_kind(kind);
    tokenizer.freeze();
    let sampler = Sampler::new(&model, &tokenizer)?;
    let all: Vec<i64> = labels.iter().flat_map(|&l| std::iter::repeat_n(l, request.per_class)).collect();
    let bar = if request.quiet || !std::io::stderr().is_terminal() {
        ProgressBar::hidden()
    } else {
        let style = ProgressStyle::with_template("{bar:32} {pos}/{len} pictures {per_sec} {eta} left");
        ProgressBar::new(all.len() as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
    };
    let side = tokenizer.config().image_side();
    let mut grid = Grid::new(labels.len(), request.per_class, side)?;
    for (part, chunk) in all.chunks(request.batch).enumerate() {
        let first = part * request.batch;
        let numbers = (first as u64..(first + chunk.len()) as u64).collect();
        let sampled = sampler.sample(chunk, &Draws::new(request.seed, numbers), &request.options)?;
        for (i, pixels) in pictures(&sampled.images)?.iter().enumerate() {
            let place = first + i;
            grid.put(place / request.per_class, place % request.per_class, pixels)?;
        }
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    grid.write(&request.out)?;
    if !request.quiet {
        eprintln!("wrote {} ({} pictures)", request.out.display(), all.len());
    }
    Ok(())
}

/// Pixels of each picture of `[B, 3, S, S]`.
fn pictures(images: &Tensor) -> Result<Vec<Vec<f32>>> {
    images
        .unbind(0)
        .iter()
        .map(|picture| {
            let flat = picture.to_device(tch::Device::Cpu).to_kind(Kind::Float).contiguous().view([-1]);
            Ok(Vec::<f32>::try_from(flat).map_err(var_tokenizer::Error::from)?)
        })
        .collect()
}

/// Model file, tokenizer and class names.
fn locate(request: &SampleRequest) -> Result<(PathBuf, String, Vec<String>)> {
    let Some(run) = &request.run else {
        let model = request.model.clone().ok_or_else(|| Error::Config("give --run or --model".into()))?;
        let tokenizer = request.tokenizer.clone().unwrap_or_else(|| builtin::NAME.into());
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
    Ok((model, request.tokenizer.clone().unwrap_or(own), names))
}

/// Class numbers of `asked`, by number or by name among `names`.
fn chosen_classes(asked: &[String], names: &[String], classes: usize) -> Result<Vec<i64>> {
    if asked.is_empty() {
        return Ok((0..classes.min(DEFAULT_CLASSES) as i64).collect());
    }
    asked
        .iter()
        .map(|text| {
            let text = text.trim();
            let found = match text.parse::<usize>() {
                Ok(number) => Some(number).filter(|&n| n < classes),
                Err(_) => names.iter().position(|n| n == text),
            };
            found.map(|n| n as i64).ok_or_else(|| {
                Error::Config(format!(
                    "class '{text}': the model has classes 0 to {}{}",
                    classes.saturating_sub(1),
                    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
                ))
            })
        })
        .collect()
}

/// Prints what `config` costs on standard output, as a table or one JSON object; `batch` pictures a step
/// count for the memory.
///
/// # Errors
/// When the configuration does not fit together.
pub fn cost(config: &TransformerConfig, batch: usize, as_json: bool) -> Result<()> {
    config.validate()?;
    let (single, half) = (cost::training_memory(config, batch, 4), cost::training_memory(config, batch, 2));
    if as_json {
        println!(
            "{}",
            json!({
                "parameters": cost::parameters(config), "tokens": config.schedule.tokens(),
                "forward_flops": cost::forward_flops(config), "training_flops": cost::training_flops(config),
                "six_n_d": cost::six_n_d(config), "memory_f32": single, "memory_bf16": half,
            })
        );
        return Ok(());
    }
    println!("parameters             {:>18}", cost::parameters(config));
    println!("tokens a picture       {:>18}", config.schedule.tokens());
    println!("forward, a picture     {:>18.3} GFLOP", cost::forward_flops(config) / 1e9);
    println!(
        "training, a picture    {:>18.3} GFLOP (6·N·D: {:.3})",
        cost::training_flops(config) / 1e9,
        cost::six_n_d(config) / 1e9
    );
    println!("training memory, f32   {:>18.3} GB at batch {batch}", single.total() / 1e9);
    println!("training memory, bf16  {:>18.3} GB at batch {batch}", half.total() / 1e9);
    Ok(())
}

/// Whether `path` is a run folder with a finished model.
pub fn is_finished(path: &Path) -> bool {
    path.join("model.safetensors").exists()
}
