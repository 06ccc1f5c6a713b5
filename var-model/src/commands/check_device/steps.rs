//! What `var-model check-device` does in its steps.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{Value, json};
use tch::{Device, Kind, Tensor};
use var_tokenizer::golden::Check;
use var_tokenizer::torch::kernels::{QueryKey, block_causal_attention, cross_entropy};
use var_tokenizer::torch::optimizer::{AdamW, Slot, adamw_step, clear_gradients, clip_grad_norm};
use var_tokenizer::torch::{DeviceChoice, Precision, guarded, peak_bytes};
use var_tokenizer::weights::portable;

use crate::commands::speed::{SpeedRequest, Subject, median, prepare, time, wait};
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

/// What a step found: words and numbers.
pub(super) type Found = (String, Value);

/// All cases of tokenizers and transformers.
pub(super) fn golden_cases(folder: Option<&Path>, device: Device) -> Result<Found> {
    let Some(folder) = folder.map(Path::to_path_buf).or_else(nearby) else {
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

/// Largest difference between a loss in 16 bits and in f32, relative to the latter: bf16, fp16.
const LOSS_IN_16_BITS: [(Kind, f64); 2] = [(Kind::BFloat16, 1e-2), (Kind::Half, 2e-3)];

/// The loss of a small transformer in bf16 and, on a GPU, in fp16, next to that in f32.
pub(super) fn losses(device: Device) -> Result<Found> {
    let config = TransformerConfig { width: 128, heads: 2, ..TransformerConfig::published(4) };
    let mut model = Transformer::new(&config, &Initialisation::default(), device, Some(1))?;
    // Of the golden cases: logits of the published initialisation are nearly equal, and no error would show.
    portable::fill(model.parameters_mut(), 1);
    let batch = Batch::new(&config, 2, device);
    let mut loss = |kind| -> Result<f64> {
        model.set_compute_kind(kind);
        tch::no_grad(|| Ok(batch.loss(&model)?.f_double_value(&[])?))
    };
    let plain = loss(Kind::Float)?;
    let (mut words, mut numbers) = (format!("{plain:.5} in f32"), json!({"f32": plain}));
    for (kind, most) in LOSS_IN_16_BITS {
        if kind == Kind::Half && device == Device::Cpu {
            continue;
        }
        let (name, found) = (Precision::name_of(kind), loss(kind)?);
        let off = (found / plain - 1.0).abs();
        if off.is_nan() || off > most {
            return Err(Error::Check(format!(
                "{found} in {name}, {plain} in f32; they may differ by {}%",
                100.0 * most
            )));
        }
        words.push_str(&format!(", {found:.5} in {name}"));
        numbers[name] = found.into();
    }
    Ok((words, numbers))
}

/// Inputs of a training step.
struct Batch {
    labels: Tensor,
    vectors: Tensor,
    ids: Tensor,
}

impl Batch {
    /// `images` images for `config`.
    fn new(config: &TransformerConfig, images: usize, device: Device) -> Self {
        let (b, l) = (images as i64, config.schedule.tokens() as i64);
        // The first scale has no input vectors.
        let given = l - config.schedule.range(0).len() as i64;
        Self {
            labels: portable::integers("labels", 1, &[b], config.classes as u64).to_device(device),
            vectors: portable::normal("vectors", 1, &[b, given, config.latent_channels as i64])
                .to_device(device),
            ids: portable::integers("ids", 1, &[b, l], config.vocabulary as u64).to_device(device),
        }
    }

    /// The mean cross-entropy of `model`.
    fn loss(&self, model: &Transformer) -> Result<Tensor> {
        let config = model.config();
        let logits = model.forward(&self.labels, &self.vectors, config.schedule.scales(), None)?;
        let rows = logits.f_view([-1, config.vocabulary as i64])?;
        let losses = cross_entropy(&rows, &self.ids.f_reshape([-1])?, 0.0)?;
        Ok(losses.loss.f_mean(Kind::Float)?)
    }
}

/// Images per second and MFU of whole steps at the published shape, in bf16.
pub(super) fn training(depth: usize, batch: usize, device: Device, peak: f64) -> Result<Found> {
    let config = TransformerConfig::published(depth);
    let mut model = Transformer::new(&config, &Initialisation::default(), device, Some(1))?;
    model.set_compute_kind(Kind::BFloat16);
    model.parameters().set_requires_grad(true);
    let parameters: Vec<Tensor> = model.parameters().trainable().map(|p| p.tensor.shallow_clone()).collect();
    let mut slots: Vec<Slot> = parameters.iter().map(Slot::new).collect();
    let inputs = Batch::new(&config, batch, device);
    let mut seconds = Vec::new();
    for round in 0..WARM + TIMED {
        let began = Instant::now();
        let loss = inputs.loss(&model)?;
        loss.f_backward()?;
        clip_grad_norm(&parameters, 2.0)?;
        adamw_step(&mut slots, &AdamW::default())?;
        clear_gradients(&parameters)?;
        wait(&loss)?;
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
pub(super) fn sampling(depth: usize, batch: usize, device: DeviceChoice) -> Result<Found> {
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
pub(super) fn attention([batch, heads, dim]: [i64; 3], device: Device) -> Result<Found> {
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
pub(super) fn beside(name: &str) -> Option<PathBuf> {
    std::env::current_exe().ok().map(|own| own.with_file_name(name)).filter(|path| path.is_file())
}

/// `var-train check-ranks` on this device: NCCL on a GPU.
pub(super) fn collectives(program: &Path, device: DeviceChoice) -> Result<Found> {
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
