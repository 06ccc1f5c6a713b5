//! `var-model sample --dry-run`: prints what a call would do; loads no weights.

use serde_json::{Value, json};
use var_tokenizer::progress::{say, tell};
use var_tokenizer::torch::Precision;

use super::job::Job;
use super::notes;
use super::request::SampleRequest;
use crate::cost::{self, SamplingMemory};
use crate::error::Result;
use crate::outputs::{DiskBytes, Target};

/// Prints the images, batches, disk space and memory of the request, as a table or one JSON object.
///
/// # Errors
/// As `sample` before it loads weights.
pub fn dry_run(request: SampleRequest, as_json: bool) -> Result<()> {
    let job = Job::new(request)?;
    let request = &job.request;
    job.opened.notes().iter().for_each(tell);
    let size = |target| Ok((target, Target::disk_bytes(target, &job.plan)?));
    let sizes: Vec<(&Target, DiskBytes)> = request.out.iter().map(size).collect::<Result<_>>()?;
    for note in notes::of(&job) {
        tell(format_args!("note: {note}"));
    }
    let guided = request.options.cfg > 0.0;
    let kinds: &[(&str, usize)] = match request.source.precision {
        Precision::F32 => &[("f32", 4)],
        Precision::Bf16 => &[("bf16", 2)],
        Precision::Fp16 => &[("fp16", 2)],
        Precision::Auto => &[("f32", 4), ("bf16", 2)],
    };
    let (config, tokenizer) = (&job.opened.config, &job.opened.tokenizer_config);
    let together = job.at_once.min(job.sampled());
    let needs = |bytes| {
        let mut memory = cost::sampling_memory(config, tokenizer, together, guided, bytes);
        if let Some(small) = &job.small {
            let more = cost::sampling_memory(&small.config, tokenizer, together, guided, bytes);
            memory.transformer += more.transformer;
            memory.cache += more.cache;
        }
        memory
    };
    let memory: Vec<(&str, SamplingMemory)> =
        kinds.iter().map(|&(name, bytes)| (name, needs(bytes))).collect();
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
            .map(|(target, size)| {
                json!({
                    "out": target.path().display().to_string(), "bytes": size.finished, "exact": size.exact,
                    "while_writing": size.meanwhile,
                })
            })
            .collect();
        say(json!({
            "event": "dry-run", "pictures": pictures, "sampled": sampled, "classes": job.plan.labels.len(),
            "side": job.plan.side, "batch": together, "batches": batches, "outputs": outputs, "memory": memory,
        }))?;
        return Ok(());
    }
    let side = job.plan.side;
    say(format_args!(
        "images    {pictures} of {side} × {side} pixels: {} classes, {} of each",
        job.plan.labels.len(),
        job.plan.per_class
    ))?;
    if job.plan.chosen {
        say(format_args!("sampled   {sampled}: {} candidates of each class", job.candidates))?;
    }
    say(format_args!("batches   {batches} of at most {together} images"))?;
    for (target, size) in sizes {
        let about = if size.exact { "" } else { "at most " };
        let more = if size.meanwhile > size.finished {
            format!(", {} while it is made", in_words(size.meanwhile as f64))
        } else {
            String::new()
        };
        say(format_args!("disk      {about}{}{more}: {target}", in_words(size.finished as f64)))?;
    }
    for (name, m) in memory {
        say(format_args!(
            "memory    {} in {name}: transformer {}, tokenizer {}, keys and values {}, then logits {} or decoder {}",
            in_words(m.total()),
            in_words(m.transformer),
            in_words(m.tokenizer),
            in_words(m.cache),
            in_words(m.logits),
            in_words(m.decoder)
        ))?;
    }
    Ok(())
}

fn batches(job: &Job) -> usize {
    if job.plan.chosen {
        job.plan.labels.len() * job.candidates.div_ceil(job.at_once)
    } else {
        job.plan.pictures().div_ceil(job.at_once)
    }
}

/// Bytes with a unit.
fn in_words(bytes: f64) -> String {
    match bytes {
        b if b >= 1e9 => format!("{:.2} GB", b / 1e9),
        b if b >= 1e6 => format!("{:.1} MB", b / 1e6),
        b => format!("{:.1} kB", b / 1e3),
    }
}
