//! `var-model speed`: images per second against the batch, in one run with what the machine can do at most.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;
use tch::{Device, Kind, Tensor};
use var_tokenizer::progress::{Progress, say};
use var_tokenizer::torch::{Precision, product_peak, read_peak};
use var_tokenizer::weights::portable;
use var_tokenizer::{ScaleSchedule, TokenizerConfig, VqVae};

use crate::config::TransformerConfig;
use crate::cost;
use crate::error::{Error, Result};
use crate::order::Order;
use crate::sampling::{Draws, Sampler, SamplingOptions, unwatched};
use crate::source::{Loaded, ModelSource};
use crate::transformer::{Initialisation, Transformer};

/// Maximum number of images at once.
const MOST_AT_ONCE: usize = 4096;
/// Maximum number of rounds.
const MOST_ROUNDS: usize = 1000;

/// The request of `var-model speed`.
#[derive(Debug)]
pub struct SpeedRequest {
    /// The models to time, in turn.
    pub subjects: Vec<Subject>,
    /// Where to compute, and how.
    pub source: ModelSource,
    /// Numbers of images at once.
    pub batches: Vec<usize>,
    /// How tokens are chosen.
    pub options: SamplingOptions,
    /// Whether images are decoded, too.
    pub decode: bool,
    /// How often each case is timed; the median counts.
    pub rounds: usize,
}

/// A model to time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// That of the source.
    Given,
    /// That of another run folder.
    Run(PathBuf),
    /// One of the published shapes, with weights that were not trained.
    Published {
        /// Number of blocks.
        depth: usize,
        /// Order of generation.
        order: Order,
    },
}

/// The times of a model at one batch size.
#[derive(Debug, Clone, Serialize)]
pub struct SpeedRow {
    /// The model.
    pub model: String,
    /// Order of generation.
    pub order: Order,
    /// Images at once.
    pub batch: usize,
    /// Whether there is guidance, which doubles the rows.
    pub guided: bool,
    /// Median seconds of the transformer: all tokens of the batch.
    pub transformer_seconds: f64,
    /// The fastest and the slowest round.
    pub transformer_range: (f64, f64),
    /// Median seconds of the decoder; `None` without it.
    pub decoder_seconds: Option<f64>,
    /// Images per second, with the decoder if it was timed.
    pub images_per_second: f64,
    /// FLOPs of the transformer per image.
    pub flops_per_image: f64,
    /// Bytes of weights, keys and values that the transformer reads per batch.
    pub bytes_per_batch: f64,
    /// Seconds that the machine needs at least for the transformer, step by step: for the products at their peak, or for
    /// reading the bytes.
    pub bound_seconds: f64,
    /// `bound_seconds / transformer_seconds`.
    pub share_of_bound: f64,
}

/// All times of a call.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename = "done")]
pub struct SpeedReport {
    /// Name and version of the program.
    pub program: String,
    /// Precision: `f32` or `bf16`.
    pub precision: String,
    /// The device.
    pub device: String,
    /// Threads of libtorch.
    pub threads: i32,
    /// FLOP/s of a 2048³ product.
    pub product_flops_per_second: f64,
    /// Bytes per second of a sum over 1 GiB.
    pub read_bytes_per_second: f64,
    /// How tokens are chosen.
    pub sampling: SamplingOptions,
    /// Rounds per case.
    pub rounds: usize,
    /// The cases.
    pub rows: Vec<SpeedRow>,
}

/// A model in memory.
pub(crate) struct Ready {
    name: String,
    loaded: Loaded,
}

/// Times all cases, in turn in each round, and prints a table or one JSON object.
///
/// # Errors
/// When a number is out of range, a file does not fit, the options do not fit a model, or memory runs out.
pub fn speed(request: &SpeedRequest, as_json: bool, progress: &mut Progress) -> Result<SpeedReport> {
    check(request)?;
    let device = request.source.device.resolve()?;
    let kind = precision(request, device)?;
    let ready: Vec<Ready> = request
        .subjects
        .iter()
        .map(|subject| prepare(subject, request, device, kind))
        .collect::<Result<_>>()?;
    for one in &ready {
        request.options.check_model(one.loaded.model.config())?;
    }
    let (products, reads) = (product_peak(device, kind)?, read_peak(device)?);
    let cases: Vec<(&Ready, usize)> =
        ready.iter().flat_map(|one| request.batches.iter().map(move |&batch| (one, batch))).collect();
    let mut times: Vec<Vec<(f64, Option<f64>)>> = vec![Vec::new(); cases.len()];
    progress.start(0, (cases.len() * request.rounds) as u64);
    let mut done = 0;
    for _ in 0..request.rounds {
        for ((one, batch), times) in cases.iter().zip(&mut times) {
            times.push(time(one, *batch, request)?);
            done += 1;
            progress.advance(done, "cases");
        }
    }
    progress.finish();
    let rows = cases
        .iter()
        .zip(&times)
        .map(|((one, batch), times)| row(one, *batch, times, request, kind, (products, reads)))
        .collect();
    let report = SpeedReport {
        program: concat!("var-model ", env!("CARGO_PKG_VERSION")).to_owned(),
        precision: Precision::name_of(kind).to_owned(),
        device: format!("{device:?}").to_lowercase(),
        threads: tch::get_num_threads(),
        product_flops_per_second: products,
        read_bytes_per_second: reads,
        sampling: request.options.clone(),
        rounds: request.rounds,
        rows,
    };
    if as_json {
        say(serde_json::to_string(&report).map_err(|e| Error::Config(e.to_string()))?)?
    } else {
        print(&report)?
    }
    Ok(report)
}

fn check(request: &SpeedRequest) -> Result<()> {
    request.options.validate()?;
    if request.batches.is_empty() || request.batches.iter().any(|b| !(1..=MOST_AT_ONCE).contains(b)) {
        return Err(Error::Config(format!("batch sizes must be from 1 to {MOST_AT_ONCE}")));
    }
    if !(1..=MOST_ROUNDS).contains(&request.rounds) {
        return Err(Error::Config(format!(
            "rounds is {}; it must be from 1 to {MOST_ROUNDS}",
            request.rounds
        )));
    }
    Ok(())
}

/// The type to compute in: the same for all models.
fn precision(request: &SpeedRequest, device: Device) -> Result<Kind> {
    let at_once = request.batches.iter().copied().max().unwrap_or(1);
    match request.subjects.first() {
        Some(Subject::Published { depth, .. }) => {
            request.source.kind_for(&TransformerConfig::published(*depth), device, at_once)
        }
        _ => request.source.kind_for(&request.source.open()?.config, device, at_once),
    }
}

/// Loads a model, or makes one with portable weights.
pub(crate) fn prepare(
    subject: &Subject,
    request: &SpeedRequest,
    device: Device,
    kind: Kind,
) -> Result<Ready> {
    let (depth, order) = match subject {
        Subject::Given => return load(&request.source, device, kind),
        Subject::Run(folder) => {
            let (device_choice, precision) = (request.source.device, request.source.precision);
            let run = Some(folder.clone());
            let source = ModelSource { run, device: device_choice, precision, ..ModelSource::default() };
            return load(&source, device, kind);
        }
        Subject::Published { depth, order } => (*depth, *order),
    };
    let mut config = TransformerConfig { order, ..TransformerConfig::published(depth) };
    let mut latent = TokenizerConfig::published();
    if order == Order::Raster {
        config.schedule = ScaleSchedule::new(vec![config.schedule.last_side()])?;
        latent.schedule = config.schedule.clone();
    }
    let mut model = Transformer::new(&config, &Initialisation::default(), device, Some(1))?;
    model.set_compute_kind(kind);
    model.freeze();
    let mut tokenizer = VqVae::new(&latent, device, None)?;
    if request.decode {
        portable::fill(tokenizer.parameters_mut(), 1);
    }
    tokenizer.set_compute_kind(kind);
    tokenizer.freeze();
    Ok(Ready { name: format!("d{depth}"), loaded: Loaded { model, tokenizer } })
}

fn load(source: &ModelSource, device: Device, kind: Kind) -> Result<Ready> {
    let opened = source.open()?;
    let name = opened.model_path.display().to_string();
    Ok(Ready { name, loaded: opened.load(device, kind)? })
}

/// Seconds of transformer and decoder for one batch.
pub(crate) fn time(one: &Ready, batch: usize, request: &SpeedRequest) -> Result<(f64, Option<f64>)> {
    let Loaded { model, tokenizer } = &one.loaded;
    let sampler = Sampler::new(model, tokenizer)?;
    let labels = vec![0; batch];
    let draws = Draws::new(0, (0..batch as u64).collect());
    tch::no_grad(|| {
        let began = Instant::now();
        let (_, latents) = sampler.generate(&labels, &draws, &request.options, None, &mut unwatched)?;
        let latent = latents.last().ok_or_else(|| Error::Config("the schedule has no scale".into()))?;
        wait(latent)?;
        let transformer = began.elapsed().as_secs_f64();
        if !request.decode {
            return Ok((transformer, None));
        }
        let began = Instant::now();
        wait(&sampler.decode(latent, || "images".into())?)?;
        Ok((transformer, Some(began.elapsed().as_secs_f64())))
    })
}

/// Waits until `tensor` is computed.
pub(crate) fn wait(tensor: &Tensor) -> Result<()> {
    tensor.f_sum(Kind::Float)?.f_double_value(&[])?;
    Ok(())
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { at(middle) } else { (at(middle.wrapping_sub(1)) + at(middle)) / 2.0 }
}

fn row(
    one: &Ready,
    batch: usize,
    times: &[(f64, Option<f64>)],
    request: &SpeedRequest,
    kind: Kind,
    (products, reads): (f64, f64),
) -> SpeedRow {
    let config = one.loaded.model.config();
    let transformer: Vec<f64> = times.iter().map(|t| t.0).collect();
    let range = (
        transformer.iter().copied().fold(f64::INFINITY, f64::min),
        transformer.iter().copied().fold(0.0, f64::max),
    );
    let transformer = median(transformer);
    let decoder: Option<Vec<f64>> = times.iter().map(|t| t.1).collect();
    let decoder = decoder.map(median);
    let guided_steps = request.options.guided_steps(config);
    let bytes = kind.elt_size_in_bytes();
    let (mut flops, mut read, mut bound) = (0.0, 0.0, 0.0);
    for k in 0..config.steps() {
        let rows = batch as f64 * if k < guided_steps { 2.0 } else { 1.0 };
        let needed = rows * cost::step_flops(config, k);
        let moved = cost::step_bytes(config, k, rows, bytes);
        flops += needed;
        read += moved;
        bound += (needed / products).max(moved / reads);
    }
    SpeedRow {
        model: one.name.clone(),
        order: config.order,
        batch,
        guided: guided_steps > 0,
        transformer_seconds: transformer,
        transformer_range: range,
        decoder_seconds: decoder,
        images_per_second: batch as f64 / (transformer + decoder.unwrap_or(0.0)),
        flops_per_image: flops / batch as f64,
        bytes_per_batch: read,
        bound_seconds: bound,
        share_of_bound: bound / transformer,
    }
}

fn print(report: &SpeedReport) -> Result<()> {
    say(format_args!(
        "{}, {}, {} threads; products {:.0} GFLOP/s, reading {:.1} GB/s; medians of {} rounds in turn",
        report.device,
        report.precision,
        report.threads,
        report.product_flops_per_second / 1e9,
        report.read_bytes_per_second / 1e9,
        report.rounds
    ))?;
    say(format_args!(
        "{:<12} {:<11} {:>6} {:>7} {:>14} {:>10} {:>10} {:>13} {:>15}",
        "model",
        "order",
        "batch",
        "guided",
        "transformer, s",
        "decoder, s",
        "images/s",
        "GFLOP/image",
        "share of bound"
    ))?;
    for row in &report.rows {
        let decoder = row.decoder_seconds.map_or_else(|| "-".to_owned(), |s| format!("{s:.3}"));
        say(format_args!(
            "{:<12} {:<11} {:>6} {:>7} {:>14.3} {:>10} {:>10.3} {:>13.1} {:>14.0}%",
            row.model,
            row.order.name(),
            row.batch,
            if row.guided { "yes" } else { "no" },
            row.transformer_seconds,
            decoder,
            row.images_per_second,
            row.flops_per_image / 1e9,
            100.0 * row.share_of_bound
        ))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn a_median_is_the_middle_or_between_the_two_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(Vec::new()).is_nan());
    }
}
