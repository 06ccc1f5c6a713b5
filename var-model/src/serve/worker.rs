//! The thread that owns the networks: loads them once, at the start, and does one request after the other.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Instant;

use image::RgbImage;
use tch::Tensor;
use var_tokenizer::VqVae;
use var_tokenizer::images::from_tensor;
use var_tokenizer::progress::tell;
use var_tokenizer::torch::guarded;

use super::events::{Event, Events};
use super::facts::Facts;
use super::jobs::{Job, Queue};
use super::pictures::png_text;
use super::requests::{EditJob, SampleJob, Work};
use crate::edit::{Generation, generate};
use crate::error::{Error, Result};
use crate::outputs::scales::MOST_SHOWN;
use crate::sampling::{Draws, Sampler, Step, at_once, check_pair};
use crate::source::{Loaded, ModelSource};

/// Number of images that are sampled together: the default of `var-model sample`, so that the same images come out.
const BATCH: usize = 16;
/// Number of steps that are told, if each does not finish a scale.
const TOLD: usize = 32;

/// Starts the thread. Returns when the weights are loaded; then the thread does what `queue` gives, until it is closed.
///
/// # Errors
/// When a file is missing or does not fit, or the device does not support the precision.
pub(super) fn start(source: ModelSource, queue: Arc<Queue>) -> Result<(Facts, JoinHandle<()>)> {
    let (ready, loaded) = sync_channel(1);
    let worker = std::thread::Builder::new()
        .name("sampler".into())
        .spawn(move || {
            if let Err(error) = guarded(|| run(&source, &queue, &ready)) {
                // Nobody waits for it once the weights are loaded.
                let _ = ready.send(Err(error));
            }
        })
        .map_err(|e| Error::io("the thread that samples", e))?;
    match loaded.recv() {
        Ok(Ok(facts)) => Ok((facts, worker)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Check("the thread that samples has crashed".into())),
    }
}

fn run(source: &ModelSource, queue: &Queue, ready: &SyncSender<Result<Facts>>) -> Result<()> {
    let opened = source.open()?;
    check_pair(&opened.config, &opened.tokenizer_config)?;
    let device = source.device.resolve()?;
    let kind = source.compute_kind(&opened, device, BATCH)?;
    let Loaded { model, tokenizer } = opened.load(device, kind)?;
    let sampler = opened.sampler(&model, &tokenizer)?;
    let _ = ready.send(Ok(Facts::new(source, &opened, device, kind)));
    while let Some(Job { work, events, .. }) = queue.next() {
        // The thread outlives a mistake in one request.
        let done = catch_unwind(AssertUnwindSafe(|| {
            guarded(|| match &work {
                Work::Sample(job) => sample(job, &sampler, &events),
                Work::Edit(job) => edit(job, &sampler, &tokenizer, &events),
            })
        }));
        let error = match done {
            Ok(Ok(())) => continue,
            Ok(Err(Error::Interrupted(what))) if events.abandoned() => {
                tell(format_args!("a request ended early, because its reader went away: {what}"));
                continue;
            }
            Ok(Err(Error::Interrupted(_))) => "the server ends".to_owned(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => "a mistake in the program; its message is where the server was started".to_owned(),
        };
        tell(format_args!("error: {error}"));
        events.send(Event::Failed { error });
    }
    Ok(())
}

/// Samples images, in the batches in which `var-model sample` makes them.
fn sample(job: &SampleJob, sampler: &Sampler, events: &Events) -> Result<()> {
    let began = Instant::now();
    let (images, command) = (job.labels.len(), job.command.clone());
    events.send(Event::Started { images, command, notes: Vec::new() });
    let at_once = at_once(sampler.config(), BATCH);
    let mut images = Vec::new();
    for (number, labels) in job.labels.chunks(at_once).enumerate() {
        let first = number * at_once;
        let draws = Draws::new(job.seed, (first as u64..(first + labels.len()) as u64).collect());
        let mut watcher = Watcher::new(sampler, events, job.scales, first, labels.len());
        let sampled =
            sampler.sample_watched(labels, &draws, &job.options, None, &mut |step| watcher.see(step));
        for image in from_tensor(&watcher.finish(sampled)?.images)? {
            images.push(png_text(&image)?);
        }
    }
    done(images, began, events);
    Ok(())
}

/// Edits a photo, as `var-model edit` does.
fn edit(job: &EditJob, sampler: &Sampler, tokenizer: &VqVae, events: &Events) -> Result<()> {
    let began = Instant::now();
    let (command, notes) = (job.command.clone(), job.notes.clone());
    events.send(Event::Started { images: job.variants, command, notes });
    let weights = job.plan.weights(job.feather);
    let generation =
        Generation { label: job.label, options: job.options.clone(), seed: job.seed, variants: job.variants };
    let mut images = Vec::new();
    let mut watcher = Watcher::new(sampler, events, job.scales, 0, job.variants);
    let mut add = |_, generated: RgbImage| {
        images.push(png_text(&job.plan.blended(&generated, &weights)?)?);
        Ok(())
    };
    let mask = job.plan.mask();
    let made =
        generate(sampler, tokenizer, &job.square, mask, &generation, &mut |step| watcher.see(step), &mut add);
    watcher.finish(made)?;
    done(images, began, events);
    Ok(())
}

fn done(images: Vec<String>, began: Instant, events: &Events) {
    let (count, seconds) = (images.len(), began.elapsed().as_secs_f64());
    tell(format_args!("{count} images in {seconds:.1} s"));
    events.send(Event::Done { images, seconds });
}

/// Tells each step of a batch, with the images after it.
struct Watcher<'a> {
    sampler: &'a Sampler<'a>,
    events: &'a Events,
    /// Whether images after each scale are wanted.
    scales: bool,
    first: usize,
    batch: usize,
    failed: Option<Error>,
}

impl<'a> Watcher<'a> {
    fn new(sampler: &'a Sampler, events: &'a Events, scales: bool, first: usize, batch: usize) -> Self {
        Self { sampler, events, scales, first, batch, failed: None }
    }

    /// Tells `step`; ends the sampling if nobody waits for it, or an image cannot be made.
    fn see(&mut self, step: Step<'_>) -> ControlFlow<()> {
        if self.events.ended() {
            return ControlFlow::Break(());
        }
        let number = step.index + 1;
        let last = number == step.steps;
        let told = step.latent.is_some() || last || number.is_multiple_of(step.steps.div_ceil(TOLD));
        if !told {
            return ControlFlow::Continue(());
        }
        // The last ones are the results, which follow.
        let wanted = step.latent.filter(|_| self.scales && !last);
        let images = match wanted.map_or(Ok(Vec::new()), |latent| self.images(latent)) {
            Ok(images) => images,
            Err(error) => {
                self.failed = Some(error);
                return ControlFlow::Break(());
            }
        };
        let config = self.sampler.config();
        let side = config.schedule.sides().get(config.place(step.index).scale).copied().unwrap_or(0);
        let (first, batch) = (self.first, self.batch);
        self.events.send(Event::Step { step: number, steps: step.steps, side, first, batch, images });
        ControlFlow::Continue(())
    }

    /// The images of `latents`, decoded as many at a time as a strip of the scales shows.
    fn images(&self, latents: &Tensor) -> Result<Vec<String>> {
        let mut images = Vec::new();
        for part in latents.split(MOST_SHOWN as i64, 0) {
            let decoded = self.sampler.decode(&part, || "images after a scale".into())?;
            for image in from_tensor(&decoded)? {
                images.push(png_text(&image)?);
            }
        }
        Ok(images)
    }

    /// `outcome`, or why the watcher ended the sampling.
    fn finish<T>(self, outcome: Result<T>) -> Result<T> {
        self.failed.map_or(outcome, Err)
    }
}
