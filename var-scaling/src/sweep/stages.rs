//! The stages of a sweep before its trainings: tokenizer, tokens, reconstruction. Finished stages are skipped.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use var_tokenizer::locks::{Lock, Refusal};
use var_tokenizer::reconstruct::ReconstructSummary;

use super::call::Call;
use super::child::{self, Ending, POLL};
use super::evidence;
use super::finished::FinishedStage;
use super::launch::{Running, Starter};
use super::progress::SweepProgress;
use super::samples::reconstruct_arguments;
use super::state::SweepFolder;
use super::stop::Stop;
use super::training::tokenizer_arguments;
use crate::error::{Error, Result};
use crate::fit::FitOptions;
use crate::plan::SweepPlan;
use crate::request::{PlannedRun, TokenizerSource};
use crate::result_line::ResultLine;

/// Maximum time for a training process of an earlier call to save and end.
const PATIENCE: Duration = Duration::from_secs(120);

/// The tokenizer that a sweep trains, in its folder.
pub(crate) const TRAINED: &str = "tokenizer/tokenizer.safetensors";

/// The token file of a sweep, in its folder.
pub(super) const TOKENS: &str = "tokens.h5";

/// The programs that a sweep starts.
pub(super) struct Programs {
    pub(super) tokenizer: PathBuf,
    pub(super) train: PathBuf,
    pub(super) model: PathBuf,
}

impl Programs {
    /// Finds them.
    pub(super) fn find() -> Result<Self> {
        Ok(Self {
            tokenizer: child::program("var-tokenizer")?,
            train: child::program("var-train")?,
            model: child::program("var-model")?,
        })
    }
}

/// A sweep while it runs.
pub(super) struct Launcher<'a> {
    pub(super) plan: &'a SweepPlan,
    /// The images.
    pub(super) data: &'a str,
    pub(super) programs: Programs,
    pub(super) progress: SweepProgress,
    /// Flags with device and precision for every program.
    pub(super) place: Vec<String>,
    pub(super) root: PathBuf,
    pub(super) folder: SweepFolder,
    pub(super) done: Vec<ResultLine>,
    pub(super) failed: Vec<(String, String)>,
    pub(super) warnings: Vec<String>,
    pub(super) start_over: &'a [String],
    pub(super) stop: Stop,
    pub(super) starter: Starter,
    /// Number of trainings that run at a time.
    pub(super) jobs: usize,
    /// How laws are fitted.
    pub(super) fit: &'a FitOptions,
    /// Number of times that a training starts again.
    pub(super) retries: usize,
}

impl Launcher<'_> {
    /// Runs all unfinished stages.
    pub(super) fn all(&mut self) -> Result<()> {
        self.start_over()?;
        self.tokenizer()?;
        self.tokens()?;
        self.reconstruction()?;
        self.runs()
    }

    /// Runs one program until it ends.
    fn start(&mut self, call: &Call) -> Result<(Ending, f64)> {
        self.stop.check()?;
        self.progress.begin(&call.name);
        self.note_saved(call)?;
        let mut running = self.starter.start(call, &[], &self.stop)?;
        let ending = loop {
            match self.look(call, &mut running)? {
                Some(ending) => break ending,
                None => std::thread::sleep(POLL),
            }
        };
        let done = matches!(ending, Ending::Done(_));
        let seconds = self.progress.end(&call.name, done);
        if self.stop.count() > 0 && !done {
            self.tell_what_goes_on(&running);
            return Err(Error::Interrupted);
        }
        Ok((ending, seconds))
    }

    /// Passes on what a program reports. Returns its ending once it has ended.
    pub(super) fn look(&mut self, call: &Call, running: &mut Running) -> Result<Option<Ending>> {
        let progress = &mut self.progress;
        let mut reported = false;
        let ending = running.poll(&self.stop, &mut |event| {
            reported |= event.is_some();
            progress.tick(&call.name, event);
        })?;
        if reported || ending.is_some() {
            self.note_saved(call)?;
        }
        Ok(ending)
    }

    /// Remembers that a training has a checkpoint, if it has one.
    pub(super) fn note_saved(&mut self, call: &Call) -> Result<()> {
        match &call.run {
            Some(run) if evidence::has_checkpoint(run) => self.folder.note_saved(&call.name),
            _ => Ok(()),
        }
    }

    /// After a signal: tells of a program that does not stop with the sweep.
    pub(super) fn tell_what_goes_on(&self, running: &Running) {
        if let Some(text) = running.goes_on() {
            self.progress.note(&text);
        }
    }

    pub(super) fn is_done(&self, run: &PlannedRun) -> bool {
        self.done.iter().any(|line| line.name == run.name)
    }

    /// A finished stage with the last event of its program. Warns if the event cannot be read.
    pub(super) fn finished<T: DeserializeOwned>(
        &mut self,
        name: &str,
        seconds: f64,
        event: Option<Value>,
    ) -> FinishedStage<T> {
        let result = event.map(serde_json::from_value).transpose().unwrap_or_else(|e| {
            self.warn(format!("{name}: the report lacks its result ({e})"));
            None
        });
        FinishedStage { seconds, result }
    }

    /// Runs a stage that all others need.
    fn stage<T: DeserializeOwned>(&mut self, call: &Call, what: &str) -> Result<FinishedStage<T>> {
        let (ending, seconds) = self.start(call)?;
        let event = ending.done(&self.stop, what, call.log.clone())?;
        self.progress.note(&format!("{}: done in {}", call.name, crate::quantity::duration(seconds)));
        Ok(self.finished(&call.name, seconds, event))
    }

    fn call(&self, name: &str, program: &Path, arguments: Vec<String>) -> Call {
        Call {
            name: name.to_owned(),
            program: program.to_owned(),
            arguments,
            run: None,
            log: self.root.join("logs").join(format!("{name}.log")),
        }
    }

    /// The training of a tokenizer; `None` if the plan has one.
    pub(super) fn tokenizer_call(&self) -> Option<Call> {
        let TokenizerSource::Trained { preset, set } = &self.plan.tokenizer else { return None };
        let run = self.root.join("tokenizer");
        let arguments = tokenizer_arguments(self.data, preset, set, &run, &self.place);
        Some(Call { run: Some(run), ..self.call("tokenizer", &self.programs.train, arguments) })
    }

    /// `builtin`, or the file of the tokenizer.
    pub(super) fn tokenizer_file(&self) -> String {
        let file = match &self.plan.tokenizer {
            TokenizerSource::Given(name) => return name.clone(),
            TokenizerSource::Beside(other) => self.root.with_file_name(other).join(TRAINED),
            TokenizerSource::Trained { .. } => self.root.join(TRAINED),
        };
        file.display().to_string()
    }

    /// Trains the tokenizer if the plan says so.
    fn tokenizer(&mut self) -> Result<()> {
        let Some(call) = self.tokenizer_call() else { return Ok(()) };
        let needed = self.plan.runs.iter().any(|run| !self.is_done(run));
        let trained = self.folder.stages().tokenizer.is_some();
        if trained && (self.root.join(TRAINED).is_file() || !needed) {
            self.progress.skip("tokenizer");
            return Ok(());
        }
        if let Some(run) = &call.run {
            self.wait_for_lock(run)?;
        }
        let stage = self.stage(&call, "training the tokenizer")?;
        self.folder.finish_stage(|stages| stages.tokenizer = Some(stage))
    }

    /// The encoding of the images.
    pub(super) fn tokens_call(&self) -> Call {
        let data = &self.plan.preset.data;
        let mut arguments: Vec<String> = ["encode", "--json"].map(str::to_owned).to_vec();
        for (flag, value) in [
            ("--data", self.data.to_owned()),
            ("--tokenizer", self.tokenizer_file()),
            ("--out", self.root.join(TOKENS).display().to_string()),
            ("--crops", data.crops.to_string()),
            ("--limit", data.limit.to_string()),
            ("--limit-held-out", data.limit_held_out.to_string()),
            ("--seed", self.plan.seed.to_string()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        if data.flip {
            arguments.push("--flip".into());
        }
        if self.start_over.iter().any(|name| name == "tokens") {
            // Otherwise the encoder resumes, or refuses, the files of an interrupted call.
            arguments.push("--restart".into());
        }
        arguments.extend(self.place.iter().cloned());
        self.call("tokens", &self.programs.tokenizer, arguments)
    }

    fn tokens(&mut self) -> Result<()> {
        // Only unfinished sizes need the tokens.
        let needed = self.plan.runs.iter().any(|run| !self.is_done(run));
        if self.folder.stages().tokens.is_some() && (self.root.join(TOKENS).is_file() || !needed) {
            self.progress.skip("tokens");
            return Ok(());
        }
        let stage = self.stage(&self.tokens_call(), "encoding the images")?;
        self.folder.finish_stage(|stages| stages.tokens = Some(stage))
    }

    /// The stage of a program that writes an image for the report. If it failed, the sweep continues.
    pub(super) fn image<T: DeserializeOwned>(
        &mut self,
        call: &Call,
        ending: Ending,
        seconds: f64,
        out: &Path,
    ) -> Option<FinishedStage<T>> {
        let (name, log) = (&call.name, call.log.display());
        match ending {
            Ending::Done(event) if out.is_file() => return Some(self.finished(name, seconds, event)),
            Ending::Failed { message, .. } => self.warn(format!("{name}: {message} (see {log})")),
            _ => self.warn(format!("{name}: no image was written (see {log})")),
        }
        None
    }

    fn reconstruction(&mut self) -> Result<()> {
        let out = self.root.join("samples/reconstruction.png");
        if out.is_file() {
            self.progress.skip("reconstruction");
            return Ok(());
        }
        let arguments = reconstruct_arguments(self.data, &self.tokenizer_file(), &out, &self.place);
        let call = self.call("reconstruction", &self.programs.tokenizer, arguments);
        let (ending, seconds) = self.start(&call)?;
        match self.image::<ReconstructSummary>(&call, ending, seconds, &out) {
            Some(stage) => self.folder.finish_stage(|stages| stages.reconstruction = Some(stage)),
            None => Ok(()),
        }
    }

    /// Renames the files of what starts over, before any stage.
    fn start_over(&mut self) -> Result<()> {
        for name in self.start_over {
            let path = if name == "tokens" {
                self.root.join(TOKENS)
            } else {
                let folder = self.root.join("runs").join(name);
                self.wait_for_lock(&folder)?;
                folder
            };
            if let Some(place) = evidence::set_aside(&path)? {
                self.progress.note(&format!("{name}: starts over; the old files are in {place}"));
            }
            self.folder.forget(name)?;
        }
        Ok(())
    }

    /// Number of images that the encoder could not read.
    pub(super) fn unreadable_images(&self) -> u64 {
        let tokens = self.folder.stages().tokens.as_ref();
        tokens.and_then(|stage| stage.result.as_ref()).map_or(0, |result| result.bad as u64)
    }

    /// Prints a warning, and keeps it for the outcome.
    pub(super) fn warn(&mut self, text: String) {
        self.progress.note(&format!("warning: {text}"));
        self.warnings.push(text);
    }

    /// Waits until a training process of an earlier, killed call has saved in `run`.
    pub(super) fn wait_for_lock(&self, run: &Path) -> Result<()> {
        // A job that goes on is found in the queue.
        if self.starter.queues() {
            return Ok(());
        }
        let path = run.join("run.lock");
        let Ok(file) = OpenOptions::new().write(true).open(&path) else { return Ok(()) };
        let began = Instant::now();
        while let Err(refusal) = Lock::take(&file, &path) {
            if let Refusal::Io(e) = refusal {
                return Err(Error::io(&path, e));
            }
            self.stop.check()?;
            if began.elapsed() > PATIENCE {
                return Err(Error::file(
                    run,
                    "another process is training in this folder; stop it and try again",
                ));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}
