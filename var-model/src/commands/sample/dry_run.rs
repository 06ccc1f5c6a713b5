//! `var-model sample --dry-run`: what a call would do, without weights.

use serde_json::{Value, json};
use var_tokenizer::progress::{say, tell};
use var_tokenizer::torch::Precision;

use super::notes;
use super::request::{Job, SampleRequest};
use crate::cost::{self, SamplingMemory};
use crate::error::Result;
use crate::outputs::{self, Kind};

/// Prints what the request would do: pictures, batches, sizes on the disk, memory; as a table or one JSON
/// object.
///
/// # Errors
/// As `sample` before it loads weights.
pub fn dry_run(request: &SampleRequest, as_json: bool) -> Result<()> {
    request.check()?;
    let opened = request.source.open()?;
    opened.notes().iter().for_each(tell);
    let job = Job::new(request, &opened)?;
    outputs::check_grids(&request.out, &job.plan)?;
    let sizes = sizes(request, &job)?;
    for note in notes::of(request, &job) {
        tell(format_args!("note: {note}"));
    }
    let guided = request.options.cfg > 0.0;
    let kinds: &[(&str, usize)] = match request.source.precision {
        Precision::F32 => &[("f32", 4)],
        Precision::Bf16 => &[("bf16", 2)],
        Precision::Fp16 => &[("fp16", 2)],
        Precision::Auto => &[("f32", 4), ("bf16", 2)],
    };
    let together = job.at_once.min(job.sampled());
    let memory: Vec<(&str, SamplingMemory)> = kinds
        .iter()
        .map(|&(name, bytes)| {
            (name, cost::sampling_memory(&job.config, &job.tokenizer, together, guided, bytes))
        })
        .collect();
    let (pictures, sampled) = (job.plan.pictures(), job.sampled());
    let batches = batches(&job);
    if as_json {
        let memory: serde_json::Map<String, Value> = memory
            .iter()
            .map(|(name, m)| {
                let mut fields = json!(m);
                fields["total"] = json!(m.total());
                ((*name).to_owned(), fields)
            })
            .collect();
        let outputs: Vec<Value> = sizes
            .iter()
            .map(|size| json!({"out": size.out, "bytes": size.bytes, "exact": size.exact, "while_writing": size.meanwhile}))
            .collect();
        say(json!({
            "event": "dry-run", "pictures": pictures, "sampled": sampled, "classes": job.plan.labels.len(),
            "side": job.plan.side, "batch": together, "batches": batches, "outputs": outputs, "memory": memory,
        }))?;
        return Ok(());
    }
    let side = job.plan.side;
    say(format_args!(
        "pictures  {pictures} of {side} × {side} pixels: {} classes, {} of each",
        job.plan.labels.len(),
        job.plan.per_class
    ))?;
    if job.plan.chosen {
        say(format_args!("sampled   {sampled}: {} candidates of each class", job.candidates))?;
    }
    say(format_args!("batches   {batches} of at most {together} pictures"))?;
    for size in sizes {
        let about = if size.exact { "" } else { "at most " };
        let more = if size.meanwhile > size.bytes {
            format!(", {} while it is made", words(size.meanwhile as f64))
        } else {
            String::new()
        };
        say(format_args!("disk      {about}{}{more}: {}", words(size.bytes as f64), size.out))?;
    }
    for (name, m) in memory {
        say(format_args!(
            "memory    {} in {name}: transformer {}, tokenizer {}, keys and values {}, then logits {} or decoder {}",
            words(m.total()),
            words(m.transformer),
            words(m.tokenizer),
            words(m.cache),
            words(m.logits),
            words(m.decoder)
        ))?;
    }
    Ok(())
}

/// What an output takes on the disk.
struct Size {
    out: String,
    bytes: u64,
    /// Whether it is so many bytes, not fewer.
    exact: bool,
    /// The most at one time.
    meanwhile: u64,
}

fn sizes(request: &SampleRequest, job: &Job) -> Result<Vec<Size>> {
    let size = |path: &std::path::PathBuf| {
        let (bytes, meanwhile) = outputs::disk_bytes(path, &job.plan)?;
        let exact = Kind::of(path)? == Kind::Npz;
        Ok(Size { out: path.display().to_string(), bytes, exact, meanwhile })
    };
    request.out.iter().map(size).collect()
}

fn batches(job: &Job) -> usize {
    if job.plan.chosen {
        job.plan.labels.len() * job.candidates.div_ceil(job.at_once)
    } else {
        job.plan.pictures().div_ceil(job.at_once)
    }
}

/// Bytes in words.
fn words(bytes: f64) -> String {
    match bytes {
        b if b >= 1e9 => format!("{:.2} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} kB", b / 1e3),
    }
}
