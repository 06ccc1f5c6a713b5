//! `var-model check-device`: is this device right, and how fast is it? For the first minutes on a machine.
//!
//! What matters most comes first. A step that fails is told, and the next one runs. When the time is up, no other step
//! starts. After each step the results so far are in the file.

mod steps;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Map, Value, json};
use tch::{Device, Kind};
use var_tokenizer::files::write_atomically;
use var_tokenizer::progress::{say, tell};
use var_tokenizer::torch::{DeviceChoice, guarded, product_peak, read_peak};

use crate::error::{Error, Result};
use steps::{Found, attention, beside, collectives, golden_cases, losses, sampling, training};

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
    run.step("golden cases", || golden_cases(request.golden.as_deref(), device))?;
    run.step("losses in 16 bits", || losses(device))?;
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
