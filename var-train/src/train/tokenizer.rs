//! Training of a tokenizer.

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use tch::{Device, Kind};
use var_tokenizer::VqVae;
use var_tokenizer::builtin;
use var_tokenizer::images::Source;
use var_tokenizer::torch::{DeviceChoice, Precision, guarded, peak_bytes};
use var_tokenizer::weights::StateDict;

use super::config::{Stored, precision_to_resume};
use super::options::{Options, missing};
use super::plan::{self, Machine};
use crate::average::AVERAGE_FILE;
use crate::checkpoint::{MODEL_FILE, last_saved};
use crate::distributed::{Place, Ranks};
use crate::engine::event::{Event, Watch, note, warn};
use crate::engine::{self, Course, Outcome, Task};
use crate::error::{Error, Result};
use crate::records::{Scores, StepReport, TokenizerPlan, TokenizerResult};
use crate::settings::{Given, PerceptualTraining, TokenizerRun, effects};
use crate::tokenizer::perceptual::Perceptual;
use crate::tokenizer::{Pictures, TokenizerTask};

/// Trains a tokenizer on images, in a run folder.
///
/// Without further methods: the small tokenizer for 32-pixel images, a new run, f32 on the processor.
#[derive(Debug, Clone)]
pub struct TrainTokenizer {
    data: String,
    settings: TokenizerRun,
    options: Options,
}

/// The inputs whose images are decoded where they fit into memory.
struct Ready {
    train: Pictures,
    validation: Pictures,
    steps: u64,
    inputs: Inputs,
}

/// The other inputs, opened and checked.
struct Inputs {
    perceptual: Option<Perceptual>,
    /// The weights that the run starts from; the rank that leads reads them.
    start: Option<StateDict>,
    data_sha256: String,
    /// The precision of the run that is resumed.
    found: Option<Kind>,
}

impl TrainTokenizer {
    /// Trains on the images of `data` (a folder, a tar, an npz, CIFAR files, or `emoji`), in the folder `out`.
    pub fn new(data: impl AsRef<Path>, out: impl AsRef<Path>) -> Self {
        Self {
            data: data.as_ref().display().to_string(),
            settings: TokenizerRun::default(),
            options: Options::new(out.as_ref()),
        }
    }

    /// Trains with these settings.
    #[must_use]
    pub fn settings(mut self, settings: TokenizerRun) -> Self {
        self.settings = settings;
        self
    }

    /// Notes which settings a person gave: the run warns about those without effect.
    #[must_use]
    pub fn given(mut self, given: Given) -> Self {
        self.options.given = given;
        self
    }

    /// Resumes the run in the folder from its newest whole checkpoint.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.options.resume = resume;
        self
    }

    /// Computes on this device.
    #[must_use]
    pub fn device(mut self, device: DeviceChoice) -> Self {
        self.options.device = device;
        self
    }

    /// Computes in this precision: f32 or bf16.
    #[must_use]
    pub fn precision(mut self, precision: Precision) -> Self {
        self.options.precision = precision;
        self
    }

    /// Trains as one of `ranks` ranks: the one at `place`. A rank that does not answer for `timeout` is lost. Without a
    /// place, the checks and the plan are those of `ranks` ranks.
    #[must_use]
    pub fn among(mut self, place: Option<Place>, ranks: usize, timeout: Duration) -> Self {
        let options = &mut self.options;
        (options.place, options.ranks, options.timeout) = (place, ranks.max(1), timeout);
        self
    }

    /// Divides the optimizer's moments over the ranks (ZeRO, stage 1).
    #[must_use]
    pub fn zero(mut self, zero: bool) -> Self {
        self.options.zero = zero;
        self
    }

    /// Checks settings, device and precision. Opens no file.
    ///
    /// # Errors
    /// Names the first setting that does not fit.
    pub fn check(&self) -> Result<()> {
        self.checked_device().map(drop)
    }

    /// Checks settings, files and the run folder before training. Decodes no image, and writes nothing.
    ///
    /// # Errors
    /// Names the first setting or file that does not fit.
    pub fn check_inputs(&self) -> Result<()> {
        self.check()?;
        guarded(|| self.inputs(Device::Cpu, &mut |_| Ok(ControlFlow::Continue(()))).map(drop))
    }

    /// The plan of the run. Checks everything, writes nothing, trains nothing. `watch` receives notes and warnings.
    ///
    /// # Errors
    /// Names the first setting or file that does not fit.
    pub fn plan(&self, watch: &mut Watch<'_>) -> Result<TokenizerPlan> {
        let device = self.checked_device()?;
        guarded(|| {
            let ready = self.prepare(device, watch)?;
            let compute = self.options.precision.resolve(device, self.product())?;
            let Options { ranks, zero, .. } = self.options;
            let machine = Machine { device, compute, ranks, zero };
            let parts = [&ready.train, &ready.validation];
            plan::of_tokenizer(&self.settings, ready.inputs.perceptual.as_ref(), ready.steps, machine, parts)
        })
    }

    /// Trains, and calls `on_step` after each step. `Break` saves a checkpoint and stops the run.
    ///
    /// # Errors
    /// As [`TrainTokenizer::watch`].
    pub fn run(&self, mut on_step: impl FnMut(&StepReport) -> ControlFlow<()>) -> Result<TokenizerResult> {
        self.watch(&mut |event| {
            Ok(if let Event::Step(report) = event { on_step(report) } else { ControlFlow::Continue(()) })
        })
    }

    /// Trains, and tells `watch` every event. Writes `tokenizer.safetensors` and `result.json` into the run folder.
    ///
    /// # Errors
    /// Bad settings or files, [`Error::Diverged`], [`Error::Interrupted`] when `watch` stops the run (after saving), or a
    /// machine failure.
    pub fn watch(&self, watch: &mut Watch<'_>) -> Result<TokenizerResult> {
        let device = self.checked_device()?;
        let ready = self.options.prepared(|| self.prepare(device, watch))?;
        self.options.together(&self.settings, device, |ranks| self.train(ready, (device, ranks), watch))
    }

    /// The device, after checking settings and precision.
    fn checked_device(&self) -> Result<Device> {
        self.settings.validate()?;
        if self.options.precision == Precision::Fp16 {
            return Err(Error::config("fp16 is for transformers only; a tokenizer trains in f32 or bf16"));
        }
        self.options.device_of_rank(&self.settings.training)
    }

    /// Sides of the largest matrix product of a step, by which the precision is chosen.
    fn product(&self) -> [i64; 3] {
        let TokenizerRun { training, tokenizer, .. } = &self.settings;
        let (side, width) = (tokenizer.image_side() as i64, tokenizer.channels as i64);
        [training.batch as i64 * side * side, 9 * width, width]
    }

    /// Opens and checks the run folder, the source of the images, and the networks. Tells skipped files.
    fn inputs(&self, device: Device, watch: &mut Watch<'_>) -> Result<(Source, Inputs)> {
        // The folder first: this check reads no other file.
        let leads = self.options.leads();
        if leads {
            self.options.start()?;
        }
        let source = Source::open(&self.data).map_err(|e| missing(e, "images"))?;
        for text in source.notes().iter().filter(|_| leads) {
            warn(watch, &format!("{}: {text}", source.label()))?;
        }
        let data_sha256 = source.fingerprint();
        let asked = self.stored(String::new(), &data_sha256);
        let found = if leads { precision_to_resume(&self.options, &asked)? } else { None };
        let PerceptualTraining { network, weights, heads, .. } = &self.settings.perceptual;
        let perceptual = self.settings.perceptual.is_on();
        let perceptual =
            perceptual.then(|| Perceptual::open(*network, weights, heads, device)).transpose()?;
        let start = if leads { self.start(watch)? } else { None };
        Ok((source, Inputs { perceptual, start, data_sha256, found }))
    }

    /// Prepares everything for training. Tells skipped files and settings without effect.
    fn prepare(&self, device: Device, watch: &mut Watch<'_>) -> Result<Ready> {
        let (source, inputs) = self.inputs(device, watch)?;
        let (train, validation) = Pictures::split(source, &self.settings)?;
        if train.is_empty() || validation.is_empty() {
            let reports = [train.report(), validation.report()];
            let bad = reports.iter().find_map(|report| report.bad.first());
            return Err(Error::file(
                &self.data,
                format!(
                    "has {} readable training and {} readable held-out images; training needs at least one of each. {}",
                    train.len(),
                    validation.len(),
                    bad.map_or("", |bad| &bad.reason)
                ),
            ));
        }
        let steps = self.settings.training.total_steps(train.len());
        let counts = [train.len(), validation.len()];
        let given = &self.options.given;
        let notes = effects::of_tokenizer(&self.settings, given, steps, counts, train.is_exact());
        notes.iter().filter(|_| self.options.leads()).try_for_each(|text| warn(watch, text))?;
        Ok(Ready { train, validation, steps, inputs })
    }

    /// The weights of `recipe.start_from`, unless a checkpoint has newer ones.
    fn start(&self, watch: &mut Watch<'_>) -> Result<Option<StateDict>> {
        let name = &self.settings.recipe.start_from;
        if name.is_empty() || self.options.resume && last_saved(&self.options.out).is_some() {
            return Ok(None);
        }
        let (weights, _) = builtin::weights(name, Some(&self.settings.tokenizer.schedule))
            .map_err(|e| missing(e, "the tokenizer of recipe.start_from"))?;
        weights.notes.iter().try_for_each(|text| warn(watch, &format!("{name}: {text}")))?;
        VqVae::check(&weights, &self.settings.tokenizer)?;
        Ok(Some(weights))
    }

    fn stored(&self, precision: String, data_sha256: &str) -> Stored<&TokenizerRun> {
        Stored {
            kind: "tokenizer".into(),
            precision,
            data: self.data.clone(),
            data_sha256: data_sha256.into(),
            tokenizer_sha256: String::new(),
            settings: &self.settings,
        }
    }

    /// Trains as one of `ranks`, and writes the finished tokenizer and its result.
    fn train(
        &self,
        ready: Ready,
        (device, ranks): (Device, Ranks),
        watch: &mut Watch<'_>,
    ) -> Result<TokenizerResult> {
        let Ready { train, validation, steps, inputs } = ready;
        let Inputs { perceptual, start, data_sha256, found } = inputs;
        let mut run = self.options.folder(ranks)?;
        let compute = self.options.agree(ranks, device, (found, self.product()), &data_sha256)?;
        if ranks.leads() && found.is_none() {
            self.stored(Precision::name_of(compute).into(), &data_sha256).write(&run)?;
        }
        let training = &self.settings.training;
        let counts = [train.len(), validation.len()];
        let parts = [train, validation];
        let mut task = TokenizerTask::new(&self.settings, parts, perceptual, steps, (device, compute))?;
        if let Some(weights) = &start {
            task.start_from(weights)?;
        }
        let text = format!(
            "{} parameters, {steps} steps of {} images, {} training and {} held-out images, {}{}",
            task.parameters().count(),
            training.batch,
            counts[0],
            counts[1],
            Precision::name_of(compute),
            if ranks.size() > 1 { format!(", {} ranks", ranks.size()) } else { String::new() }
        );
        note(watch, &text)?;
        let course =
            Course { settings: training, steps, resume: self.options.resume, ranks, zero: self.options.zero };
        let mut task = task.among(ranks);
        let outcome = engine::train(&mut task, &mut run, course, watch);
        // Also when training was interrupted or failed.
        for report in task.reports().iter().filter(|report| !report.bad.is_empty()) {
            warn(watch, &report.to_string())?;
        }
        let result = self.result(&task, compute, &outcome?, watch)?;
        if ranks.leads() {
            self.options.write_result(&result)?;
        }
        Ok(result)
    }

    /// Publishes the tokenizer, and gives the result.
    fn result(
        &self,
        task: &TokenizerTask,
        compute: Kind,
        outcome: &Outcome,
        watch: &mut Watch<'_>,
    ) -> Result<TokenizerResult> {
        let Scores::Tokenizer(scores) = &outcome.validation.scores else {
            return Err(Error::config("the validation of a tokenizer gave scores of a transformer"));
        };
        if let Some(alarm) = &scores.alarm {
            note(watch, &format!("warning: {alarm}"))?;
        }
        let weights = if self.settings.recipe.ema > 0.0 { AVERAGE_FILE } else { MODEL_FILE };
        let name = "tokenizer.safetensors";
        let file = match self.options.leads() {
            true => self.options.publish(&outcome.checkpoint, weights, name)?,
            false => self.options.out.join(name),
        };
        Ok(TokenizerResult {
            parameters: task.parameters().count(),
            psnr: scores.psnr,
            codes_used: scores.codes_used,
            perplexity: scores.perplexity,
            codes_per_scale: scores.codes_per_scale.clone(),
            bad: task.unreadable()?,
            seconds: outcome.seconds,
            precision: Precision::name_of(compute).into(),
            tokenizer: file.display().to_string(),
            peak_memory_bytes: peak_bytes(task.parameters().device()),
        })
    }
}
