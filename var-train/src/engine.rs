//! The training loop that tokenizer and transformer share: steps, log, validation, checkpoints, exits.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::{Map, Value, json};
use signal_hook::consts::SIGUSR1;
use tch::Tensor;
use var_tokenizer::progress::Progress;
use var_tokenizer::signals;
use var_tokenizer::torch::check_finite;
use var_tokenizer::torch::optimizer::AdamW;
use var_tokenizer::weights::{Parameters, StateDict, safetensors};

use crate::average::{AVERAGE_FILE, Average};
use crate::checkpoint::{self, MODEL_FILE, OPTIMIZER_FILE, State};
use crate::distributed::Ranks;
use crate::error::{Error, Result};
use crate::loss_scale::LossScale;
use crate::optimizer::{Optimizer, Sharded, Update};
use crate::run::{RunFolder, require_finite};
use crate::settings::Training;
use crate::throughput::{Cost, Throughput};

/// What is trained. A task adds up gradients; the loop does the rest.
pub trait Task {
    /// The parameters to train.
    fn parameters(&self) -> &Parameters;

    /// Metadata that makes a file of the parameters a model file.
    ///
    /// # Errors
    /// Never in practice.
    fn metadata(&self) -> Result<BTreeMap<String, String>>;

    /// Forward and backward of the whole batch of `step`, from 0 (all micro-batches); gradients are left in
    /// place. Returns the numbers for the log, among them `loss`. Costly ones only when `detailed`.
    ///
    /// # Errors
    /// When libtorch fails.
    fn step(&mut self, step: u64, detailed: bool) -> Result<Map<String, Value>>;

    /// Runs after the optimizer's step.
    ///
    /// # Errors
    /// When libtorch fails.
    fn after_step(&mut self, _step: u64) -> Result<()> {
        Ok(())
    }

    /// Scores the held-out set after `step` steps, as keys and values of a line in `metrics.jsonl`.
    ///
    /// # Errors
    /// When libtorch fails.
    fn validate(&mut self, step: u64) -> Result<Map<String, Value>>;

    /// More tensors that a resume needs.
    fn extra(&self) -> BTreeMap<String, Tensor> {
        BTreeMap::new()
    }

    /// More numbers that a resume needs.
    fn numbers(&self) -> BTreeMap<String, f64> {
        BTreeMap::new()
    }

    /// Takes back what [`Task::extra`] and [`Task::numbers`] gave, after the parameters are loaded.
    ///
    /// # Errors
    /// When something is missing.
    fn restore(
        &mut self,
        _tensors: &BTreeMap<String, Tensor>,
        _numbers: &BTreeMap<String, f64>,
    ) -> Result<()> {
        Ok(())
    }

    /// The moving average of the weights, where the task keeps one; the loop updates, saves and loads it.
    fn average(&mut self) -> Option<&mut Average> {
        None
    }

    /// The factor that [`Task::step`] multiplies the loss by, in fp16; the loop takes it off the gradients, and passes
    /// over steps whose gradients are not finite.
    fn loss_scale(&mut self) -> Option<&mut LossScale> {
        None
    }

    /// Fills the parameters from a checkpoint.
    ///
    /// # Errors
    /// When the tensors do not fit.
    fn load(&mut self, weights: &StateDict) -> Result<()>;

    /// Pictures a step and tokens a picture, for the rates.
    fn sizes(&self) -> (usize, usize);

    /// What a picture costs, for the rates.
    fn cost(&self) -> Cost;

    /// Seconds that steps have waited for data so far.
    fn waited(&self) -> f64;
}

/// How the loop ended.
#[derive(Debug)]
pub struct Outcome {
    /// The last checkpoint.
    pub checkpoint: PathBuf,
    /// The last validation.
    pub validation: Map<String, Value>,
    /// Seconds of training over all processes.
    pub seconds: f64,
}

/// Trains `task` for `steps` steps in `run`, from the newest checkpoint when `resume` is set. All `ranks` call
/// this with the same task; rank 0 alone reads and writes checkpoints. With `zero` the optimizer's moments are shared
/// out over them.
///
/// # Errors
/// When a number is no longer finite, the disk is full, a signal came (after saving), another rank is lost,
/// or libtorch fails.
pub fn train(
    task: &mut dyn Task,
    run: &mut RunFolder,
    settings: &Training,
    steps: u64,
    resume: bool,
    progress: &mut Progress,
    ranks: Ranks,
    zero: bool,
) -> Result<Outcome> {
    let stop = signals::stop()?;
    // SLURM's warning before it takes the machines away.
    signal_hook::flag::register(SIGUSR1, Arc::clone(&stop)).map_err(|e| Error::io("signals", e))?;
    task.parameters().set_requires_grad(true);
    let mut optimizer = optimizer(task.parameters(), settings, ranks, zero)?;
    let schedule = settings.schedule(steps);
    let mut state = State { step: 0, seconds: 0.0, files: BTreeMap::new(), task: BTreeMap::new() };
    let mut last_checkpoint = None;
    if resume && ranks.leads() {
        if let Some(found) = restore(task, optimizer.as_mut(), run, progress)? {
            last_checkpoint = Some(found.path);
            state = found.state;
        }
        if let Some(missing) = run.forget_after(state.step)? {
            progress.note(&missing);
        }
        if state.step >= steps {
            progress.note(&format!(
                "the run is finished: its {steps} steps are done. A longer run has another schedule from the start: \
                 begin one with --set steps=… in another --out"
            ));
        }
    }
    align(task, optimizer.as_mut(), &mut state, ranks)?;
    if !ranks.leads() && state.step > 0 {
        // Where rank 0 went on from; its folder is its own business.
        last_checkpoint = Some(run.path().to_owned());
    }
    let (pictures, tokens) = task.sizes();
    let left = steps.saturating_sub(state.step) * pictures as u64;
    let mut throughput = Throughput::start(task.cost(), task.parameters().device(), tokens, left, ranks)?;
    let (started, before) = (Instant::now(), state.seconds);
    let mut saved_at = Instant::now();
    let mut validation = None;
    let mut alarmed = String::new();
    progress.start(state.step, steps);
    while state.step < steps {
        let step = state.step;
        let detailed = step.is_multiple_of(settings.log_every) || step + 1 == steps;
        let began = Instant::now();
        let at = |step: u64| {
            let checkpoint = last_checkpoint.clone();
            move |e: Error| diverged(step, e, checkpoint.as_deref())
        };
        let mut values = task.step(step, detailed).map_err(at(step))?;
        let loss = values.get("loss").and_then(Value::as_f64).unwrap_or(f64::NAN);
        if !loss.is_finite() {
            return Err(at(step)(Error::Diverged(format!("the loss is {loss}"))));
        }
        let (rate, decay) = (schedule.learning_rate(step), schedule.weight_decay(step));
        let norm = optimize(task, optimizer.as_mut(), rate, decay).map_err(at(step))?;
        if !norm.is_finite() {
            progress.note(&format!(
                "step {step}: the gradient overflowed in fp16; the step is passed over, and the loss scale halved"
            ));
        }
        task.after_step(step).map_err(at(step))?;
        if let Some(average) = task.average() {
            average.update()?;
        }
        state.step += 1;
        state.seconds = before + started.elapsed().as_secs_f64();
        throughput.add(pictures, began.elapsed());
        if detailed {
            // Said when it begins and when it changes, not at every line.
            let alarm = values.get("alarm").and_then(Value::as_str).unwrap_or_default();
            if !alarm.is_empty() && alarm != alarmed {
                progress.note(&format!("warning: step {}: {alarm}", state.step));
            }
            alarmed = alarm.to_owned();
            values.insert("lr".into(), rate.into());
            values.insert("wd".into(), decay.into());
            // Of a step that overflowed in fp16 and was passed over there is none.
            if norm.is_finite() {
                values.insert("grad_norm".into(), norm.into());
            }
            values.insert("images".into(), (state.step * pictures as u64).into());
            values.insert("tokens".into(), (state.step * (pictures * tokens) as u64).into());
            values.insert("seconds".into(), state.seconds.into());
            throughput.report(task.waited(), &mut values);
            run.log("train", state.step, &values).map_err(at(state.step))?;
        }
        let rate = progress.rate() * pictures as f64;
        progress.advance_with(
            state.step,
            &format!("loss {loss:.4}  {rate:.0} images/s  {:.0} tokens/s", rate * tokens as f64),
            &json!({"loss": loss, "images_per_second": rate}),
        );
        let minutes = saved_at.elapsed().as_secs_f64() / 60.0;
        // Rank 0's clock counts, and everybody's signals.
        let timely = settings.checkpoint_minutes > 0.0 && minutes >= settings.checkpoint_minutes;
        let [interrupted, timely] = ranks.any([stop.load(Ordering::Relaxed), timely && ranks.leads()])?;
        let last = state.step == steps;
        if last || (settings.validate_every > 0 && state.step.is_multiple_of(settings.validate_every)) {
            let mut scores = task.validate(state.step).map_err(at(state.step))?;
            scores.insert("images".into(), (state.step * pictures as u64).into());
            scores.insert("tokens".into(), (state.step * (pictures * tokens) as u64).into());
            scores.insert("seconds".into(), state.seconds.into());
            run.log("val", state.step, &scores).map_err(at(state.step))?;
            progress.note(&summary(state.step, &scores));
            progress.event(&json!({"event": "validation", "step": state.step, "scores": scores}));
            validation = Some(scores);
        }
        let due = settings.checkpoint_every > 0 && state.step.is_multiple_of(settings.checkpoint_every);
        if last || due || timely || interrupted {
            ranks.require_equal(task.parameters())?;
            let moments = optimizer.gather(ranks)?;
            let path = ranks.on_leader(run.path().to_owned(), || {
                run.sync()?;
                save(task, moments, run, &state, settings.keep_checkpoints).map_err(at(state.step))
            })?;
            saved_at = Instant::now();
            last_checkpoint = Some(path.clone());
            if interrupted && !last {
                progress.finish();
                return Err(Error::Interrupted { step: state.step, checkpoint: path });
            }
        }
    }
    progress.finish();
    let validation = match validation {
        Some(v) => v,
        None => {
            let at = |e| diverged(state.step, e, last_checkpoint.as_deref());
            let scores = task.validate(state.step).map_err(at)?;
            require_finite("val", &scores).map_err(at)?;
            scores
        }
    };
    let checkpoint = match last_checkpoint {
        Some(path) => path,
        None => {
            let moments = optimizer.gather(ranks)?;
            ranks.on_leader(run.path().to_owned(), || {
                save(task, moments, run, &state, settings.keep_checkpoints)
            })?
        }
    };
    Ok(Outcome { checkpoint, validation, seconds: state.seconds })
}

/// AdamW over the parameters: whole on every rank, or shared out.
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

/// Brings all ranks to the state of rank 0: parameters and buffers, moments, what the task keeps, and the step
/// to go on from. After this, backward passes average their gradients, unless the optimizer does.
fn align(task: &mut dyn Task, optimizer: &mut dyn Update, state: &mut State, ranks: Ranks) -> Result<()> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let extra = task.extra();
    let mut tensors: Vec<Tensor> =
        task.parameters().entries().iter().map(|entry| entry.tensor.shallow_clone()).collect();
    tensors.extend(extra.values().map(Tensor::shallow_clone));
    ranks.broadcast(&tensors)?;
    optimizer.share_out(ranks)?;
    let broken = |e: serde_json::Error| Error::Distributed(format!("rank 0's state cannot be read: {e}"));
    let word = ranks.from_leader(|| {
        let own = State { task: task.numbers(), ..state.clone() };
        serde_json::to_string(&own).map_err(broken)
    })?;
    if !ranks.leads() {
        *state = serde_json::from_str(&word).map_err(broken)?;
        task.restore(&extra, &state.task)?;
    }
    if optimizer.averages_itself() { Ok(()) } else { ranks.average_gradients_of(task.parameters()) }
}

/// The optimizer's step on the gradients of `task`, and their norm. With a scaled loss an overflow is no error: the
/// step is passed over, and the next one has a smaller factor.
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

/// The first few scores in one line.
fn summary(step: u64, scores: &Map<String, Value>) -> String {
    let shown: Vec<String> = scores
        .iter()
        .filter(|(key, value)| value.is_f64() && *key != "seconds")
        .take(6)
        .map(|(key, value)| format!("{key} {:.4}", value.as_f64().unwrap_or(f64::NAN)))
        .collect();
    format!("step {step}: {}", shown.join("  "))
}

/// An error of step `step`: where values are not finite, with the step and what to do; others as they are.
fn diverged(step: u64, e: Error, checkpoint: Option<&Path>) -> Error {
    let what = match e {
        Error::Diverged(what) => what,
        e if e.is_not_finite() => e.to_string(),
        e => return e,
    };
    let advice = "a lower learning rate, a longer warm-up, a smaller clip, or --precision f32";
    Error::Diverged(match checkpoint {
        Some(path) => format!(
            "step {step}: {what}; the last good checkpoint is {}. Start another run (--out) with {advice}; --resume \
             goes back to that checkpoint, with the same settings",
            path.display()
        ),
        None => {
            format!("step {step}: {what}; there is no checkpoint yet. Start over with --resume and {advice}")
        }
    })
}

/// Fails unless all values of a file of a checkpoint are finite.
fn check_values(file: &str, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    for (name, tensor) in tensors {
        check_finite(tensor, || format!("{name} of {file}"))?;
    }
    Ok(())
}

/// Saves a checkpoint. One with values that are not finite would be worth nothing, and is not written.
fn save(
    task: &mut dyn Task,
    moments: BTreeMap<String, Tensor>,
    run: &RunFolder,
    state: &State,
    keep: usize,
) -> Result<PathBuf> {
    let mut rest = moments;
    rest.extend(task.extra().into_iter().map(|(name, t)| (format!("extra.{name}"), t)));
    let mut files = BTreeMap::from([
        (MODEL_FILE, (task.parameters().to_map(), task.metadata()?)),
        (OPTIMIZER_FILE, (rest, BTreeMap::new())),
    ]);
    let metadata = task.metadata()?;
    if let Some(average) = task.average() {
        files.insert(AVERAGE_FILE, (average.to_map(), metadata));
    }
    // The weights first: an average of bad weights is bad, too.
    for file in [MODEL_FILE, OPTIMIZER_FILE, AVERAGE_FILE] {
        files.get(file).map_or(Ok(()), |(tensors, _)| check_values(file, tensors))?;
    }
    let state = State { files: BTreeMap::new(), task: task.numbers(), ..state.clone() };
    checkpoint::save(run.path(), &files, state, keep)
}

fn restore(
    task: &mut dyn Task,
    optimizer: &mut dyn Update,
    run: &RunFolder,
    progress: &mut Progress,
) -> Result<Option<checkpoint::Checkpoint>> {
    let last = checkpoint::last_saved(run.path());
    let (found, skipped) = checkpoint::newest(run.path())?;
    for checkpoint::Damaged { path, reason } in &skipped {
        progress.note(&format!("skipped a damaged checkpoint: {reason}"));
        // Starting over would drop what the run was worth; that is for a person to decide.
        if found.is_none() {
            return Err(Error::file(
                path,
                format!(
                    "is damaged, and so is every other checkpoint ({reason}); restore one, or choose another --out"
                ),
            ));
        }
        checkpoint::set_aside(path)?;
    }
    let Some(found) = found else {
        progress.note("no checkpoint yet; starting from step 0");
        return Ok(None);
    };
    if let Some(last) = last.filter(|last| skipped.is_empty() && !found.path.ends_with(last)) {
        progress.note(&format!("checkpoint {last}, which was saved last, is missing"));
    }
    task.load(&safetensors::open(&found.path.join(MODEL_FILE))?)?;
    let file = found.path.join(OPTIMIZER_FILE);
    let tensors = safetensors::open(&file)?.read_finite()?;
    optimizer.load(&tensors, &file.display().to_string())?;
    let mut restored = vec![(MODEL_FILE, task.parameters().to_map())];
    if let Some(average) = task.average() {
        average.load(&found.path.join(AVERAGE_FILE))?;
        restored.push((AVERAGE_FILE, average.to_map()));
    }
    for (name, tensors) in restored.iter().map(|(name, map)| (*name, map)).chain([(OPTIMIZER_FILE, &tensors)])
    {
        check_values(name, tensors).map_err(|e| {
            Error::file(&found.path, format!("{e}; remove this checkpoint to resume from an earlier one"))
        })?;
    }
    let extra: BTreeMap<String, Tensor> = tensors
        .iter()
        .filter_map(|(name, t)| Some((name.strip_prefix("extra.")?.to_owned(), t.shallow_clone())))
        .collect();
    task.restore(&extra, &found.state.task)?;
    progress.note(&format!("resumed from {}", found.path.display()));
    Ok(Some(found))
}
