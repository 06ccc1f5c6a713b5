//! `var-model sample`: pictures of classes, into grids, archives and folders.

mod dry_run;
mod notes;
mod request;
mod work;

use serde_json::{Value, json};
use var_tokenizer::progress::Progress;
use var_tokenizer::signals;
use var_tokenizer::torch::Precision;

pub use dry_run::dry_run;
pub(super) use notes::options as options_notes;
pub use request::{MOST_AT_ONCE, MOST_PICTURES, SampleRequest};

use crate::error::Result;
use crate::outputs::{self, Outputs};
use crate::rejection::Classifier;
use crate::source::Loaded;
use request::Job;
use work::Work;

/// Samples pictures; what was done, as the `done` event of `--json`.
///
/// # Errors
/// When a file is missing or does not fit, a class is unknown, the numbers of pictures are out of range, an
/// output cannot be written or is taken, an interrupted call had other settings or its pictures are missing (all of
/// this is checked before weights are loaded), a value is not finite, or a signal asked to stop.
pub fn sample(mut request: SampleRequest, progress: &mut Progress) -> Result<Value> {
    request.check()?;
    let opened = request.source.open()?;
    opened.notes().iter().for_each(|note| progress.note(note));
    let job = Job::new(&request, &opened)?;
    outputs::check_grids(&request.out, &job.plan)?;
    let mut notes = notes::of(&request, &job);
    let stop = signals::stop()?;
    if request.resume && request.source.precision == Precision::Auto {
        request.source.precision = earlier_precision(&request)?;
    }
    let device = request.source.device.resolve()?;
    let kind = request.source.compute_kind(&opened, device, job.at_once)?;
    let settings = job.settings(&request, &opened, device, Precision::name_of(kind))?;
    let outputs = Outputs::open(&request.out, &job.plan, &settings, job.unit(), request.resume)?;
    notes.extend_from_slice(outputs.notes());
    for note in &notes {
        progress.note(&format!("note: {note}"));
    }
    if outputs.complete() {
        progress
            .note(&format!("all {} pictures are there: an earlier call finished them", job.plan.pictures()));
        if request.show_scales.is_empty() {
            let mut event = done(&request, &job, &notes, 0, 0.0);
            event["complete"] = json!(true);
            return Ok(event);
        }
    }
    // Before the model: it is the smaller file.
    let classifier = match &request.rejection {
        Some(rejection) => Some(Classifier::load(rejection, job.config.classes, device)?),
        None => None,
    };
    let Loaded { model, tokenizer } = opened.load(device, kind)?;
    let sampler = opened.sampler(&model, &tokenizer)?;
    let mut work = Work::new(&request, &job, &sampler, outputs, stop, progress);
    let (sampled, seconds) = work.run(classifier.as_ref())?;
    Ok(done(&request, &job, &notes, sampled, seconds))
}

/// The `done` event.
fn done(request: &SampleRequest, job: &Job, notes: &[String], sampled: usize, seconds: f64) -> Value {
    let named: Vec<String> =
        request.out.iter().chain(&request.show_scales).map(|path| path.display().to_string()).collect();
    json!({
        "event": "done", "pictures": job.plan.pictures(), "sampled": sampled, "seconds": seconds,
        "images_per_second": sampled as f64 / seconds.max(1e-9), "out": named.first(), "outputs": named,
        "notes": notes,
    })
}

/// The precision that an earlier call measured: this one continues with it.
fn earlier_precision(request: &SampleRequest) -> Result<Precision> {
    let earlier = outputs::earlier_settings(&request.out)?;
    match earlier.as_ref().and_then(|settings| settings.get("precision")).and_then(Value::as_str) {
        Some(text) => Ok(text.parse()?),
        None => Ok(Precision::Auto),
    }
}
