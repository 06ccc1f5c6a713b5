//! `var-model sample`: pictures of classes.

use std::path::PathBuf;
use std::time::Instant;

use serde_json::{Value, json};
use tch::{Kind, Tensor};
use var_tokenizer::files::check_place;
use var_tokenizer::images::Grid;
use var_tokenizer::progress::Progress;

use crate::error::{Error, Result};
use crate::sampling::{Draws, Sampler, SamplingOptions};
use crate::source::{Loaded, ModelSource};

/// Classes in a grid when none are named.
const DEFAULT_CLASSES: usize = 8;
/// Most pictures of one call.
pub const MOST_PICTURES: usize = 1_000_000;
/// Most pictures that are sampled at once.
pub const MOST_AT_ONCE: usize = 1024;
/// Most logits of one scale that are drawn from at once: 1 GiB.
const MOST_LOGITS: usize = 1 << 28;
/// Most pixels of a grid: 0.8 GB.
const MOST_PIXELS: usize = 1 << 28;

/// What `var-model sample` is told.
#[derive(Debug)]
pub struct SampleRequest {
    /// Model, tokenizer and class names.
    pub source: ModelSource,
    /// Classes by number or name.
    pub classes: Vec<String>,
    /// Pictures a class.
    pub per_class: usize,
    /// How tokens are chosen.
    pub options: SamplingOptions,
    /// Seed of the run.
    pub seed: u64,
    /// Pictures sampled at once, at most; fewer where their logits would take gigabytes.
    pub batch: usize,
    /// Grid file.
    pub out: PathBuf,
}

/// Samples a grid, a row a class; what was done, as the `done` event of `--json`.
///
/// # Errors
/// When a file is missing or does not fit, a class is unknown, the numbers of pictures are out of range,
/// or the grid cannot be written; whether its folder can be is looked at first.
pub fn sample(request: &SampleRequest, progress: &mut Progress) -> Result<Value> {
    request.options.validate()?;
    if !(1..=MOST_AT_ONCE).contains(&request.batch) {
        return Err(Error::Config(format!("--batch {}: 1 to {MOST_AT_ONCE}", request.batch)));
    }
    check_place(&request.out)?;
    let Loaded { model, tokenizer, names } = request.source.load(request.batch)?;
    let config = model.config();
    let labels = chosen_classes(&request.classes, &names, config.classes)?;
    let mut grid = empty_grid(labels.len(), request.per_class, tokenizer.config().image_side())?;
    let all: Vec<i64> = labels.iter().flat_map(|&l| std::iter::repeat_n(l, request.per_class)).collect();
    let last_scale = config.schedule.range(config.schedule.scales() - 1).len();
    let sampler = Sampler::new(&model, &tokenizer)?;
    let at_once = request.batch.min(MOST_LOGITS / (last_scale * config.vocabulary)).max(1);
    let began = Instant::now();
    let mut done = 0;
    progress.start(0, all.len() as u64);
    for chunk in all.chunks(at_once) {
        let numbers = (done as u64..(done + chunk.len()) as u64).collect();
        let sampled = sampler.sample(chunk, &Draws::new(request.seed, numbers), &request.options)?;
        for pixels in pictures(&sampled.images)? {
            grid.put(done / request.per_class, done % request.per_class, &pixels)?;
            done += 1;
        }
        let rate = done as f64 / began.elapsed().as_secs_f64().max(1e-9);
        let text = format!("{rate:.1} pictures/s");
        progress.advance_with(done as u64, &text, &json!({"images_per_second": rate}));
    }
    progress.finish();
    let seconds = began.elapsed().as_secs_f64();
    grid.write(&request.out)?;
    Ok(json!({
        "event": "done", "pictures": done, "seconds": seconds,
        "images_per_second": done as f64 / seconds.max(1e-9), "out": request.out.display().to_string(),
    }))
}

/// The grid to fill.
fn empty_grid(classes: usize, per_class: usize, side: usize) -> Result<Grid> {
    let fits = classes
        .checked_mul(per_class)
        .filter(|pictures| (1..=MOST_PICTURES).contains(pictures))
        .and_then(|pictures| pictures.checked_mul(side * side))
        .is_some_and(|pixels| pixels <= MOST_PIXELS);
    if !fits {
        return Err(Error::Config(format!(
            "{classes} classes with --per-class {per_class} at {side} × {side} pixels: a grid holds at least \
             1 and at most {MOST_PICTURES} pictures and {MOST_PIXELS} pixels; sample in several calls"
        )));
    }
    Ok(Grid::new(classes, per_class, side)?)
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
