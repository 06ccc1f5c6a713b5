//! `var-model check-device`: is this device right, and how fast is it? For the first minutes on a machine.
//!
//! What matters most comes first. A step that fails is told, and the next one runs. When the time is up, no other step
//! starts. After each step the results so far are in the file.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value, json};
use tch::{Device, Kind, Tensor};
use var_tokenizer::files::write_atomically;
use var_tokenizer::golden::Check;
use var_tokenizer::progress::{say, tell};
use var_tokenizer::torch::kernels::{QueryKey, block_causal_attention, cross_entropy};
use var_tokenizer::torch::optimizer::{AdamW, Slot, adamw_step, clear_gradients, clip_grad_norm};
use var_tokenizer::torch::{DeviceChoice, Precision, guarded, peak_bytes, product_peak, read_peak};
use var_tokenizer::weights::portable;

use super::speed::{SpeedRequest, Subject, median, prepare, time, wait};
use crate::config::TransformerConfig;
use crate::cost;
use crate::error::{Error, Result};
use crate::golden;
use crate::order::Order;
use crate::sampling::SamplingOptions;
use crate::source::ModelSource;
use crate::transformer::{Initialisation, Transformer};

/// Rounds that warm up before a time is taken, and rounds whose median counts.
const WARM: usize = 2;
const TIMED: usize = 3;

/// The request of `var-model check-device`.
#[derive(Debug)]
pub struct DeviceRequest {
    /// The device.
    pub device: DeviceChoice,
    /// After this time no other step starts.
    pub limit: Duration,
    /// Folder with golden cases.
    pub golden: Option<PathBuf>,
    /// File for the results so far, as JSON.
    pub out: Option<PathBuf>,
}

/// One step.
#[derive(Debug, Clone, Serialize)]
pub struct DeviceRow {
    /// What was done.
    pub step: String,
    /// Whether it worked; `None`: it did not run.
    pub passed: Option<bool>,
    /// Seconds of the step.
    pub seconds: f64,
    /// The result in words.
    pub result: String,
    /// The numbers of the result.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub numbers: Map<String, Value>,
}

/// All steps.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename = "done")]
pub struct DeviceReport {
    /// Name and version of the program.
    pub program: String,
    /// The device, and its name if the system says it.
    pub device: String,
    /// Threads of libtorch on the processor.
    pub threads: i32,
    /// The steps, in order.
    pub rows: Vec<DeviceRow>,
}

/// What a step found: words and numbers.
type Found = (String, Value);

/// Sizes that suit the device.
struct Sizes {
    /// Depth and batch of the trainings.
    train: &'static [(usize, usize)],
    /// Depths and batches of sampling.
    sample: (&'static [usize], &'static [usize]),
    /// Images, heads and channels per head of the attention.
    attention: [i64; 3],
}

const ON_GPU: Sizes = Sizes {
    train: &[(16, 32), (8, 64), (24, 16)],
    sample: (&[16, 30], &[1, 8, 64]),
    attention: [64, 16, 64],
};
const ON_CPU: Sizes = Sizes { train: &[(1, 1), (2, 1)], sample: (&[1], &[1]), attention: [1, 2, 64] };

/// Runs all steps, and prints a table. True if none failed.
///
/// # Errors
/// When there is no such device, or the file cannot be written.
pub fn check_device(request: &DeviceRequest) -> Result<bool> {
    let device = request.device.resolve()?;
    let sizes = if device == Device::Cpu { ON_CPU } else { ON_GPU };
    let mut run = Run {
        request,
        began: Instant::now(),
        report: DeviceReport {
            program: concat!("var-model ", env!("CARGO_PKG_VERSION")).to_owned(),
            device: name_of(device),
            threads: tch::get_num_threads(),
            rows: Vec::new(),
        },
    };
    let mut peak = f64::NAN;
    run.step("golden cases", || golden_cases(request, device))?;
    run.step("products in bf16", || {
        peak = product_peak(device, Kind::BFloat16)?;
        Ok((format!("{:.1} TFLOP/s", peak / 1e12), json!({"flops_per_second": peak})))
    })?;
    run.step("products in f32", || {
        let plain = product_peak(device, Kind::Float)?;
        Ok((format!("{:.1} TFLOP/s", plain / 1e12), json!({"flops_per_second": plain})))
    })?;
    run.step("reading memory", || {
        let bytes = read_peak(device)?;
        Ok((format!("{:.0} GB/s", bytes / 1e9), json!({"bytes_per_second": bytes})))
    })?;
    let train = |(depth, batch): (usize, usize)| move || training(depth, batch, device, peak);
    if let Some(&first) = sizes.train.first() {
        run.step(&named("training step", first), train(first))?;
    }
    let (depths, batches) = sizes.sample;
    for depth in depths {
        for batch in batches {
            run.step(&named("sampling", (*depth, *batch)), || sampling(*depth, *batch, request.device))?;
        }
    }
    for &other in sizes.train.iter().skip(1) {
        run.step(&named("training step", other), train(other))?;
    }
    run.step("attention, forward and backward", || attention(sizes.attention, device))?;
    let name = "collectives with one rank";
    match beside("var-train") {
        Some(program) => run.step(name, || collectives(&program, request.device))?,
        None => run.skip(name, "not run: var-train does not lie beside this program")?,
    }
    run.end()
}

fn named(what: &str, (depth, batch): (usize, usize)) -> String {
    format!("{what} of d{depth}, {batch} image{}", if batch == 1 { "" } else { "s" })
}

/// The steps so far.
struct Run<'a> {
    request: &'a DeviceRequest,
    began: Instant,
    report: DeviceReport,
}

impl Run<'_> {
    /// Runs a step, unless the time is up.
    fn step(&mut self, name: &str, work: impl FnOnce() -> Result<Found>) -> Result<()> {
        if self.began.elapsed() >= self.request.limit {
            return self.skip(name, "not run: the time is up");
        }
        tell(format_args!("{name} …"));
        let started = Instant::now();
        let (passed, result, numbers) = match guarded(work) {
            Ok((words, Value::Object(numbers))) => (true, words, numbers),
            Ok((words, _)) => (true, words, Map::new()),
            Err(e) => (false, e.to_string(), Map::new()),
        };
        let seconds = started.elapsed().as_secs_f64();
        self.add(DeviceRow { step: name.to_owned(), passed: Some(passed), seconds, result, numbers })
    }

    /// Notes that a step did not run.
    fn skip(&mut self, name: &str, why: &str) -> Result<()> {
        let (step, result, numbers) = (name.to_owned(), why.to_owned(), Map::new());
        self.add(DeviceRow { step, passed: None, seconds: 0.0, result, numbers })
    }

    /// Adds a row, and writes all rows so far.
    fn add(&mut self, row: DeviceRow) -> Result<()> {
        self.report.rows.push(row);
        let Some(path) = &self.request.out else { return Ok(()) };
        let text = serde_json::to_vec_pretty(&self.report).map_err(|e| Error::Config(e.to_string()))?;
        write_atomically(path, &text)
    }

    /// Prints the table. True if no step failed.
    fn end(self) -> Result<bool> {
        say(format_args!(
            "{}, {}, {} threads",
            self.report.program, self.report.device, self.report.threads
        ))?;
        for row in &self.report.rows {
            let outcome = match row.passed {
                Some(true) => "ok",
                Some(false) => "FAILED",
                None => "-",
            };
            // The first line says what happened; libtorch adds many.
            let result = row.result.lines().next().unwrap_or_default();
            say(format_args!("{outcome:<7} {:<34} {:>7.1} s  {result}", row.step, row.seconds))?;
        }
        Ok(self.report.rows.iter().all(|row| row.passed != Some(false)))
    }
}

/// The device with its name, as the driver tells it.
fn name_of(device: Device) -> String {
    let Device::Cuda(index) = device else { return "cpu".into() };
    let entries = std::fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().flatten();
    let mut models: Vec<String> = entries
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("information")).ok())
        .filter_map(|text| Some(text.lines().find_map(|line| line.strip_prefix("Model:"))?.trim().to_owned()))
        .collect();
    models.sort();
    models.dedup();
    format!("cuda:{index}{}", models.first().map(|model| format!(" ({model})")).unwrap_or_default())
}

/// All cases of tokenizers and transformers.
fn golden_cases(request: &DeviceRequest, device: Device) -> Result<Found> {
    let Some(folder) = request.golden.clone().or_else(nearby) else {
        return Err(Error::Config("no golden cases found; name their folder with --golden".into()));
    };
    var_tokenizer::golden::compute_on(device);
    let mut checks: Vec<Check> = Vec::new();
    for case in cases(&folder, 3) {
        for outcome in [guarded(|| var_tokenizer::golden::check(&case)), guarded(|| golden::check(&case))] {
            match outcome {
                Ok(found) => checks.extend(found),
                Err(e) => return Err(Error::Config(format!("{}: {e}", case.display()))),
            }
        }
    }
    let (total, failed): (usize, Vec<&Check>) =
        (checks.len(), checks.iter().filter(|check| !check.pass).collect());
    if total == 0 {
        return Err(Error::Config(format!("{} has no golden cases", folder.display())));
    }
    match failed.first() {
        None => Ok((format!("{total} checks passed"), json!({"passed": total, "failed": 0}))),
        Some(first) => Err(Error::Config(format!(
            "{} of {total} checks failed; the first: {} of {}, off by {:?} (at most {:e}){}",
            failed.len(),
            first.quantity,
            first.case,
            first.difference,
            first.tolerance,
            first.note.as_ref().map(|note| format!(", {note}")).unwrap_or_default()
        ))),
    }
}

/// The folder `golden` of an unpacked archive, or the cases of a clone, above this program.
fn nearby() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let places = ["golden", "var-tokenizer/tests/golden"];
    let above = program.ancestors().skip(1).flat_map(|folder| places.map(|place| folder.join(place)));
    above.into_iter().find(|folder| folder.is_dir())
}

/// The folders with a manifest, at most `deep` levels below `folder`.
fn cases(folder: &Path, deep: usize) -> Vec<PathBuf> {
    if folder.join("manifest.json").is_file() {
        return vec![folder.to_owned()];
    }
    if deep == 0 {
        return Vec::new();
    }
    let mut below: Vec<PathBuf> =
        std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    below.sort();
    below.iter().filter(|path| path.is_dir()).flat_map(|path| cases(path, deep - 1)).collect()
}

/// Images per second and MFU of whole steps at the published shape, in bf16.
fn training(depth: usize, batch: usize, device: Device, peak: f64) -> Result<Found> {
    let config = TransformerConfig::published(depth);
    let mut model = Transformer::new(&config, &Initialisation::default(), device, Some(1))?;
    model.set_compute_kind(Kind::BFloat16);
    model.parameters().set_requires_grad(true);
    let parameters: Vec<Tensor> = model.parameters().trainable().map(|p| p.tensor.shallow_clone()).collect();
    let mut slots: Vec<Slot> = parameters.iter().map(Slot::new).collect();
    let (b, l) = (batch as i64, config.schedule.tokens() as i64);
    let labels = portable::integers("labels", 1, &[b], config.classes as u64).to_device(device);
    let first = config.schedule.range(0).len() as i64;
    let vectors =
        portable::normal("vectors", 1, &[b, l - first, config.latent_channels as i64]).to_device(device);
    let ids = portable::integers("ids", 1, &[b, l], config.vocabulary as u64).to_device(device);
    let mut seconds = Vec::new();
    for round in 0..WARM + TIMED {
        let began = Instant::now();
        let logits = model.forward(&labels, &vectors, config.schedule.scales(), None)?;
        let losses = cross_entropy(&logits.view([b * l, -1]), &ids.reshape([-1]), 0.0)?;
        drop(logits);
        losses.loss.mean(Kind::Float).f_backward()?;
        clip_grad_norm(&parameters, 2.0)?;
        adamw_step(&mut slots, &AdamW::default())?;
        clear_gradients(&parameters)?;
        wait(&losses.loss)?;
        if round >= WARM {
            seconds.push(began.elapsed().as_secs_f64());
        }
    }
    let step = median(seconds);
    let rate = batch as f64 / step;
    let mfu = rate * cost::training_flops(&config) / peak;
    let memory = peak_bytes(device).unwrap_or(f64::NAN);
    Ok((
        format!("{rate:.2} images/s, MFU {:.0}%, {:.1} GB at most so far", 100.0 * mfu, memory / 1e9),
        json!({"step_seconds": step, "images_per_second": rate, "mfu": mfu, "peak_bytes": memory}),
    ))
}

/// Images per second at the published shape, with guidance, in the faster precision of the device.
fn sampling(depth: usize, batch: usize, device: DeviceChoice) -> Result<Found> {
    let request = SpeedRequest {
        subjects: vec![Subject::Published { depth, order: Order::NextScale }],
        source: ModelSource { device, precision: Precision::Bf16, ..ModelSource::default() },
        batches: vec![batch],
        options: SamplingOptions::default(),
        decode: true,
        rounds: TIMED,
    };
    let found = device.resolve()?;
    let [subject] = request.subjects.as_slice() else { return Err(Error::Config("no model".into())) };
    let ready = prepare(subject, &request, found, Kind::BFloat16)?;
    let mut times = Vec::new();
    for round in 0..1 + TIMED {
        let one = time(&ready, batch, &request)?;
        if round > 0 {
            times.push(one);
        }
    }
    let transformer = median(times.iter().map(|one| one.0).collect());
    let decoder = median(times.iter().filter_map(|one| one.1).collect());
    let (without, with) = (batch as f64 / transformer, batch as f64 / (transformer + decoder));
    Ok((
        format!("{with:.2} images/s, {without:.2} without the decoder"),
        json!({"images_per_second": with, "images_per_second_without_decoder": without,
               "transformer_seconds": transformer, "decoder_seconds": decoder}),
    ))
}

/// Seconds of one block's attention at the published schedule, in bf16.
fn attention([batch, heads, dim]: [i64; 3], device: Device) -> Result<Found> {
    let schedule = TransformerConfig::published(16).schedule;
    let ends: Vec<i64> = (0..schedule.scales()).map(|k| schedule.range(k).end as i64).collect();
    let length = schedule.tokens() as i64;
    let packed = portable::normal("packed", 1, &[batch, length, 3 * heads * dim]);
    let packed = packed.to_device(device).to_kind(Kind::BFloat16).set_requires_grad(true);
    let factors = Tensor::f_full([heads], 4.0, (Kind::Float, device))?;
    let mut seconds = Vec::new();
    for round in 0..WARM + TIMED {
        let began = Instant::now();
        let mixed = block_causal_attention(&packed, heads, &ends, QueryKey::Normalised(&factors))?;
        mixed.f_sum(Kind::Float)?.f_backward()?;
        wait(&packed.grad())?;
        if round >= WARM {
            seconds.push(began.elapsed().as_secs_f64());
        }
    }
    let step = median(seconds);
    Ok((
        format!("{:.2} ms for {batch} × {length} tokens of {heads} heads", 1e3 * step),
        json!({"seconds": step}),
    ))
}

/// The program of this name in the folder of this one.
fn beside(name: &str) -> Option<PathBuf> {
    std::env::current_exe().ok().map(|own| own.with_file_name(name)).filter(|path| path.is_file())
}

/// `var-train check-ranks` on this device: NCCL on a GPU.
fn collectives(program: &Path, device: DeviceChoice) -> Result<Found> {
    let output = Command::new(program)
        .args(["check-ranks", "--device", &device.to_string()])
        .output()
        .map_err(|e| Error::io(program, e))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    if output.status.success() {
        Ok((text(&output.stdout), Value::Null))
    } else {
        Err(Error::Config(text(&output.stderr)))
    }
}
