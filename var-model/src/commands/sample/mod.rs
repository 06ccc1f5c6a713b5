//! `var-model sample`: images of classes, into grids, archives and folders.

mod dry_run;
mod job;
mod notes;
mod record;
mod request;
mod work;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use var_tokenizer::progress::Progress;

pub use dry_run::dry_run;
pub(super) use notes::options as options_notes;
pub(crate) use record::SampleSummary;
pub use request::{MOST_AT_ONCE, MOST_PICTURES, SampleRequest, SmallRequest};

use crate::error::Result;
use crate::outputs::Outputs;
use crate::rejection::Classifier;
use crate::source::Loaded;
use job::Job;
use work::Work;

/// Samples images. If `stop` is set, it saves, ends, and says how to resume.
///
/// # Errors
/// When a file is missing or does not fit, a class is unknown, the number of images is out of range, an output cannot
/// be written or is taken, an interrupted call had other settings or its images are missing (all of this is checked
/// before weights are loaded), a value is not finite, or `stop` was set.
pub fn sample(
    request: SampleRequest,
    stop: Arc<AtomicBool>,
    progress: &mut Progress,
) -> Result<SampleSummary> {
    let mut job = Job::new(request)?;
    job.notes = notes::of(&job);
    job.opened.notes().iter().for_each(|note| progress.note(note));
    let mut outputs = Outputs::open(&job.request.out, &job.plan, job.request.resume)?;
    let (device, kind) = job.device_and_kind(outputs.earlier_settings())?;
    outputs.start(&job.settings(device, kind)?, job.unit())?;
    job.notes.extend_from_slice(outputs.notes());
    for note in &job.notes {
        progress.note(&format!("note: {note}"));
    }
    if outputs.complete() {
        let all = job.plan.pictures();
        progress.note(&format!("all {all} images are there: an earlier call finished them"));
        if job.request.show_scales.is_empty() {
            return Ok(job.summary(0, 0.0, true));
        }
    }
    // Before the model, because it is the smaller file.
    let classifier = match &job.request.rejection {
        Some(rejection) => Some(Classifier::load(rejection, job.opened.config.classes, device)?),
        None => None,
    };
    let Loaded { model, tokenizer } = job.opened.load(device, kind)?;
    let small = match &job.small {
        Some(small) => Some(small.load_model(device, kind)?),
        None => None,
    };
    let mut sampler = job.opened.sampler(&model, &tokenizer)?;
    if let (Some(small), Some(opened), Some(asked)) = (&small, &job.small, &job.request.small) {
        sampler = sampler.with_small(small, asked.large_scales, opened.model_path.display().to_string())?;
    }
    let (sampled, seconds) = Work::new(&job, &sampler, outputs, stop, progress).run(classifier.as_ref())?;
    Ok(job.summary(sampled, seconds, false))
}
