//! Notes before the work: settings without effect, and choices of the program.

use std::collections::BTreeMap;

use super::job::Job;
use crate::outputs::scales::MOST_SHOWN;
use crate::sampling::SamplingOptions;
use var_tokenizer::command_line::Given;

/// The notes on a request.
pub(super) fn of(job: &Job) -> Vec<String> {
    let (request, plan, config) = (&job.request, &job.plan, &job.opened.config);
    let given = &request.given;
    let none = config.classes as i64;
    let mut notes =
        options(&request.options, given, config.vocabulary, plan.labels.iter().all(|&l| l == none));
    if request.classes.is_empty() && plan.labels.len() < config.classes {
        notes.push(format!(
            "samples the first {} of {} classes; --classes chooses others",
            plan.labels.len(),
            config.classes
        ));
    }
    let mut times: BTreeMap<i64, usize> = BTreeMap::new();
    for &label in &plan.labels {
        *times.entry(label).or_default() += 1;
    }
    for (label, times) in times.into_iter().filter(|&(_, times)| times > 1) {
        let name = plan.names.name(label);
        let name = if name.is_empty() { label.to_string() } else { format!("{label} ({name})") };
        notes.push(format!(
            "class {name} appears {times} times in --classes: {} images of it are made",
            times * plan.per_class
        ));
    }
    if given.has("batch") && request.batch > job.sampled() {
        notes.push(format!("--batch {} has no effect: {} images are sampled", request.batch, job.sampled()));
    } else if job.at_once < request.batch.min(job.sampled()) {
        notes.push(format!(
            "samples {} images together, not {}: the logits of more would take gigabytes",
            job.at_once, request.batch
        ));
    }
    if let Some(rejection) = request.rejection.as_ref().filter(|_| job.candidates == plan.per_class) {
        notes
            .push(format!("--keep {} has no effect: all {} candidates stay", rejection.keep, plan.per_class));
    }
    if !request.show_scales.is_empty() && plan.pictures() > MOST_SHOWN {
        notes.push(format!("--show-scales shows the first {MOST_SHOWN} of {} images", plan.pictures()));
    }
    if let Some(small) = request.small.as_ref().filter(|small| small.large_scales == config.schedule.scales())
    {
        notes.push(format!(
            "--small-model {} has no effect: --large-scales are all scales",
            small.model.display()
        ));
    }
    notes
}

/// The notes on the sampling options, for a model with `vocabulary` codes. `unconditional`: all images are of "no class".
pub(in crate::commands) fn options(
    options: &SamplingOptions,
    given: &Given,
    vocabulary: usize,
    unconditional: bool,
) -> Vec<String> {
    let mut notes = Vec::new();
    if given.has("top_k") && options.top_k > vocabulary {
        notes.push(format!("--top-k {} has no effect: the model has {vocabulary} codes", options.top_k));
    }
    if given.has("cfg") && options.cfg > 0.0 && unconditional {
        notes.push(format!("--cfg {} has no effect without a class", options.cfg));
    }
    if given.has("guide_scales") && (options.cfg == 0.0 || unconditional) {
        notes.push(
            "--guide-scales has no effect without guidance: --cfg is 0, or there is no class".to_owned(),
        );
    }
    if given.has("guidance") && (options.cfg == 0.0 || unconditional) {
        notes.push("--guidance has no effect without guidance: --cfg is 0, or there is no class".to_owned());
    }
    notes
}
