//! `var-model sample`: pictures of classes, into grids, archives and folders.

mod dry_run;
mod request;
mod work;

use serde_json::{Value, json};
use var_tokenizer::progress::Progress;
use var_tokenizer::signals;
use var_tokenizer::torch::Precision;

pub use dry_run::dry_run;
pub use request::{MOST_AT_ONCE, MOST_PICTURES, SampleRequest};

use crate::error::Result;
use crate::outputs::{self, Outputs};
use crate::rejection::Classifier;
use crate::sampling::Sampler;
use crate::source::Loaded;
use request::Job;
use work::Work;

/// Samples pictures, a row a class in a grid; what was done, as the `done` event of `--json`.
///
/// # Errors
/// When a file is missing or does not fit, a class is unknown, the numbers of pictures are out of range, an
/// output cannot be written (whether it can be is looked at first) or is taken, what is gone on with was
/// begun with other settings, or a signal asked to stop.
pub fn sample(mut request: SampleRequest, progress: &mut Progress) -> Result<Value> {
    request.check()?;
    let opened = request.source.open()?;
    opened.notes().iter().for_each(|note| progress.note(note));
    let job = Job::new(&request, &opened)?;
    outputs::check_grids(&request.out, &job.plan)?;
    let stop = signals::stop()?;
    if request.resume && request.source.precision == Precision::Auto {
        request.source.precision = earlier_precision(&request)?;
    }
    // Before the model: it is the smaller file.
    let classifier = match &request.rejection {
        Some(rejection) => {
            Some(Classifier::load(rejection, job.config.classes, request.source.device.resolve()?)?)
        }
        None => None,
    };
    let Loaded { model, tokenizer } = request.source.load(&opened, job.at_once)?;
    let sampler = Sampler::new(&model, &tokenizer)?;
    let precision = Precision::name_of(model.compute_kind());
    let settings = job.settings(&request, &opened, model.device(), precision)?;
    let outputs = Outputs::open(&request.out, &job.plan, &settings, job.unit(), request.resume)?;
    let mut work = Work::new(&request, &job, &sampler, &tokenizer, outputs, stop, progress);
    let (sampled, seconds) = work.run(classifier.as_ref())?;
    let named: Vec<String> =
        request.out.iter().chain(&request.show_scales).map(|path| path.display().to_string()).collect();
    Ok(json!({
        "event": "done", "pictures": job.plan.pictures(), "sampled": sampled, "seconds": seconds,
        "images_per_second": sampled as f64 / seconds.max(1e-9), "out": named.first(), "outputs": named,
    }))
}

/// The precision that an earlier call measured: this one goes on with it.
fn earlier_precision(request: &SampleRequest) -> Result<Precision> {
    let earlier = outputs::earlier_settings(&request.out)?;
    match earlier.as_ref().and_then(|settings| settings.get("precision")).and_then(Value::as_str) {
        Some(text) => Ok(text.parse()?),
        None => Ok(Precision::Auto),
    }
}
