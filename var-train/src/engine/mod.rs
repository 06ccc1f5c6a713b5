//! The training loop of tokenizer and transformer: step, log, validation, checkpoint, stop.

mod alarms;
pub(crate) mod event;
mod restore;
pub(crate) mod task;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use var_tokenizer::torch::optimizer::AdamW;
use var_tokenizer::weights::Parameters;

use crate::checkpoint::State;
use crate::distributed::Ranks;
use crate::error::{Error, Result};
use crate::optimizer::{Optimizer, Sharded, Update};
use crate::records::{MetricsLine, StepReport, Validation};
use crate::run::{RunFolder, require_finite};
use crate::schedule::Schedule;
use crate::settings::Training;
use crate::throughput::Throughput;

use alarms::Alarms;
pub use event::{Event, Watch};
use event::{note, tell};
pub use task::Task;

/// How a run trains.
#[derive(Debug, Clone, Copy)]
pub struct Course<'a> {
    /// Optimizer, schedule, log and checkpoints.
    pub settings: &'a Training,
    /// Steps of the whole run.
    pub steps: u64,
    /// Starts from the newest checkpoint.
    pub resume: bool,
    /// All ranks of the run. Rank 0 alone reads and writes checkpoints.
    pub ranks: Ranks,
    /// Divides the optimizer's moments over the ranks.
    pub zero: bool,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Folder of the last checkpoint.
    pub checkpoint: PathBuf,
    /// The last validation.
    pub validation: Validation,
    /// Seconds of training over all processes.
    pub seconds: f64,
}

/// Trains `task` in the folder `run`. All ranks call this with the same task and course.
///
/// # Errors
/// [`Error::Diverged`] when a number is not finite, [`Error::Interrupted`] when `watch` stops the run (after saving);
/// when the disk is full, another rank is lost, libtorch fails, or `watch` fails.
pub fn train(
    task: &mut dyn Task,
    run: &mut RunFolder,
    course: Course<'_>,
    watch: &mut Watch<'_>,
) -> Result<Outcome> {
    tell(watch, Event::Ready)?;
    let mut progress = Progress::start(task, run, course, watch)?;
    while progress.state.step < course.steps {
        let stop = progress.step()?;
        let minutes = progress.saved_at.elapsed().as_secs_f64() / 60.0;
        let settings = course.settings;
        // The clock of rank 0 counts, and the stop of any rank.
        let timely = settings.checkpoint_minutes > 0.0 && minutes >= settings.checkpoint_minutes;
        let [stop, timely] = course.ranks.any([stop, timely && course.ranks.leads()])?;
        let step = progress.state.step;
        let last = step == course.steps;
        if last || is_due(settings.validate_every, step) {
            progress.validate()?;
        }
        if last || is_due(settings.checkpoint_every, step) || timely || stop {
            let checkpoint = progress.save()?;
            if stop && !last {
                return Err(Error::Interrupted { step, checkpoint });
            }
        }
    }
    progress.finish()
}

/// Whether something that happens `every` so many steps happens after `step`; 0 is never.
fn is_due(every: u64, step: u64) -> bool {
    every > 0 && step.is_multiple_of(every)
}

/// A run in the loop.
struct Progress<'a, 'w> {
    task: &'a mut dyn Task,
    run: &'a mut RunFolder,
    course: Course<'a>,
    watch: &'a mut Watch<'w>,
    schedule: Schedule,
    optimizer: Box<dyn Update>,
    throughput: Throughput,
    state: State,
    /// Images per step and tokens per image.
    sizes: (usize, usize),
    /// When this process began, and the seconds of those before it.
    started: (Instant, f64),
    saved_at: Instant,
    last_checkpoint: Option<PathBuf>,
    validation: Option<Validation>,
    alarms: Alarms,
}

impl<'a, 'w> Progress<'a, 'w> {
    /// Restores what is there, brings all ranks to the same state, and measures the machine.
    fn start(
        task: &'a mut dyn Task,
        run: &'a mut RunFolder,
        course: Course<'a>,
        watch: &'a mut Watch<'w>,
    ) -> Result<Self> {
        let Course { settings, steps, resume, ranks, zero } = course;
        task.parameters().set_requires_grad(true);
        let mut optimizer = optimizer(task.parameters(), settings, ranks, zero)?;
        let mut state = State { step: 0, seconds: 0.0, files: BTreeMap::new(), task: BTreeMap::new() };
        let mut last_checkpoint = None;
        if resume && ranks.leads() {
            if let Some(found) = restore::restore(task, optimizer.as_mut(), run, watch)? {
                last_checkpoint = Some(found.path);
                state = found.state;
            }
            if let Some(missing) = run.forget_after(state.step)? {
                note(watch, &missing)?;
            }
            if state.step >= steps {
                let text = format!(
                    "the run is finished: its {steps} steps are done. A longer run has another schedule from its first step: \
                     start one with other steps in another run folder"
                );
                note(watch, &text)?;
            }
        }
        restore::align(task, optimizer.as_mut(), &mut state, ranks)?;
        if !ranks.leads() && state.step > 0 {
            // Other ranks do not see the folder of rank 0.
            last_checkpoint = Some(run.path().to_owned());
        }
        let sizes = task.sizes();
        let left = steps.saturating_sub(state.step) * sizes.0 as u64;
        let throughput = Throughput::start(task.cost(), task.parameters().device(), sizes.1, left, ranks)?;
        tell(watch, Event::Begin { step: state.step, steps, images: sizes.0, tokens: sizes.1 })?;
        Ok(Self {
            schedule: settings.schedule(steps),
            started: (Instant::now(), state.seconds),
            saved_at: Instant::now(),
            validation: None,
            alarms: Alarms::default(),
            task,
            run,
            course,
            watch,
            optimizer,
            throughput,
            state,
            sizes,
            last_checkpoint,
        })
    }

    /// Does one step and reports it. Gives whether the caller stops the run.
    fn step(&mut self) -> Result<bool> {
        let step = self.state.step;
        let detailed = step.is_multiple_of(self.course.settings.log_every) || step + 1 == self.course.steps;
        let began = Instant::now();
        let losses = self.task.step(step, detailed);
        let losses = losses.map_err(|e| self.diverged(step, e))?;
        if !losses.loss().is_finite() {
            return Err(self.diverged(step, Error::Diverged(format!("the loss is {}", losses.loss()))));
        }
        let (lr, wd) = (self.schedule.learning_rate(step), self.schedule.weight_decay(step));
        let norm = optimize(self.task, self.optimizer.as_mut(), lr, wd);
        let norm = norm.map_err(|e| self.diverged(step, e))?;
        if !norm.is_finite() {
            let text = format!(
                "step {step}: the gradient overflowed in fp16; skipped the step, halved the loss scale"
            );
            note(self.watch, &text)?;
        }
        self.task.after_step(step).map_err(|e| diverged(step, e, self.last_checkpoint.as_deref()))?;
        if let Some(average) = self.task.average() {
            average.update()?;
        }
        self.state.step += 1;
        self.state.seconds = self.started.1 + self.started.0.elapsed().as_secs_f64();
        self.throughput.add(self.sizes.0, began.elapsed());
        let (images, tokens) = self.seen();
        let (grad_norm, seconds) = (norm.is_finite().then_some(norm), self.state.seconds);
        let rates = detailed.then(|| self.throughput.report(self.task.waited()));
        let report = StepReport { step: step + 1, losses, lr, wd, grad_norm, images, tokens, seconds, rates };
        self.report(report)
    }

    /// Logs a step that has rates, and tells every step. Gives whether the caller stops the run.
    fn report(&mut self, report: StepReport) -> Result<bool> {
        let step = report.step;
        let line = MetricsLine::Train(report);
        let MetricsLine::Train(report) = &line else { return Ok(false) };
        if report.rates.is_some() {
            if let Some(alarm) = report.losses.alarm().filter(|alarm| self.alarms.is_new(alarm)) {
                note(self.watch, &format!("warning: step {step}: {alarm}"))?;
            }
            self.run.log(&line).map_err(|e| self.diverged(step, e))?;
        }
        Ok((self.watch)(Event::Step(report))?.is_break())
    }

    /// Images and tokens so far.
    fn seen(&self) -> (u64, u64) {
        let (images, tokens) = self.sizes;
        (self.state.step * images as u64, self.state.step * (images * tokens) as u64)
    }

    /// Scores the held-out part.
    fn score(&mut self) -> Result<Validation> {
        let step = self.state.step;
        let scores = self.task.validate(step).map_err(|e| self.diverged(step, e))?;
        let (images, tokens) = self.seen();
        Ok(Validation { step, scores, images, tokens, seconds: self.state.seconds })
    }

    /// Scores the held-out part; logs and tells the scores.
    fn validate(&mut self) -> Result<()> {
        let validation = self.score()?;
        let line = MetricsLine::Val(validation.clone());
        self.run.log(&line).map_err(|e| self.diverged(validation.step, e))?;
        tell(self.watch, Event::Validation(&validation))?;
        if self.course.ranks.leads()
            && let Some(grid) = self.task.picture(validation.step)?
        {
            self.run.show(validation.step, &grid)?;
        }
        self.validation = Some(validation);
        self.alarms.forget();
        Ok(())
    }

    /// Saves a checkpoint, after checking that all ranks have the same parameters. Gives its folder.
    fn save(&mut self) -> Result<PathBuf> {
        self.course.ranks.require_equal(self.task.parameters())?;
        self.write_checkpoint()
    }

    fn write_checkpoint(&mut self) -> Result<PathBuf> {
        let moments = self.optimizer.gather(self.course.ranks)?;
        let keep = self.course.settings.keep_checkpoints;
        let path = self.course.ranks.on_leader(self.run.path().to_owned(), || {
            self.run.sync()?;
            restore::save(self.task, moments, self.run, &self.state, keep)
                .map_err(|e| diverged(self.state.step, e, self.last_checkpoint.as_deref()))
        })?;
        self.saved_at = Instant::now();
        self.last_checkpoint = Some(path.clone());
        Ok(path)
    }

    /// The outcome. A finished run that is resumed is scored again, and has a checkpoint.
    fn finish(mut self) -> Result<Outcome> {
        let validation = match self.validation.take() {
            Some(validation) => validation,
            None => {
                let validation = self.score()?;
                require_finite(&MetricsLine::Val(validation.clone()))
                    .map_err(|e| self.diverged(validation.step, e))?;
                validation
            }
        };
        let checkpoint = match self.last_checkpoint.take() {
            Some(path) => path,
            None => self.write_checkpoint()?,
        };
        Ok(Outcome { checkpoint, validation, seconds: self.state.seconds })
    }

    fn diverged(&self, step: u64, e: Error) -> Error {
        diverged(step, e, self.last_checkpoint.as_deref())
    }
}

/// AdamW over the parameters: whole on every rank, or divided over the ranks.
fn optimizer(
    parameters: &Parameters,
    training: &Training,
    ranks: Ranks,
    zero: bool,
) -> Result<Box<dyn Update>> {
    let Training { beta1, beta2, epsilon: eps, clip, .. } = *training;
    Ok(if zero && ranks.size() > 1 {
        Box::new(Sharded::new(parameters, AdamW { beta1, beta2, eps, ..AdamW::default() }, clip, ranks)?)
    } else {
        Box::new(Optimizer::new(parameters, beta1, beta2, eps, clip))
    })
}

/// Does the optimizer's step on the gradients of `task`, and gives their norm. With a scaled loss an overflow is not an
/// error: the step is skipped (the norm is infinite), and the next step has a smaller factor.
fn optimize(task: &mut dyn Task, optimizer: &mut dyn Update, rate: f64, decay: f64) -> Result<f64> {
    let Some(scale) = task.loss_scale() else { return optimizer.step(rate, decay) };
    optimizer.unscale(scale.factor())?;
    match optimizer.step(rate, decay) {
        Ok(norm) => {
            scale.update(true)?;
            Ok(norm)
        }
        Err(e) if e.is_not_finite() => {
            optimizer.clear()?;
            scale.update(false)?;
            Ok(f64::INFINITY)
        }
        Err(e) => Err(e),
    }
}

/// An error of step `step`. Values that are not finite get the step and advice; other errors stay as they are.
fn diverged(step: u64, e: Error, checkpoint: Option<&Path>) -> Error {
    let what = match e {
        Error::Diverged(what) => what,
        e if e.is_not_finite() => e.to_string(),
        e => return e,
    };
    let advice = "a lower learning rate, a longer warm-up, a smaller clip, or precision f32";
    Error::Diverged(match checkpoint {
        Some(path) => format!(
            "step {step}: {what}. The last good checkpoint is {}. Start a run in another run folder with {advice}. Resume \
             this run only with the same settings",
            path.display()
        ),
        None => format!(
            "step {step}: {what}. The run has no checkpoint yet. Resume it with {advice}: it starts over"
        ),
    })
}
