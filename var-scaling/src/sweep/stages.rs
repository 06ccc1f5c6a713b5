//! The stages of a sweep: tokenizer, tokens, one training per size, samples. Finished stages are skipped.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::de::DeserializeOwned;
use serde_json::Value;
use var_tokenizer::locks::{Lock, Refusal};
use var_tokenizer::reconstruct::ReconstructSummary;

use super::child::{self, Ending, Stop};
use super::evidence;
use super::finished::FinishedStage;
use super::outcome::result_line;
use super::progress::SweepProgress;
use super::samples::{reconstruct_arguments, sample_arguments};
use super::state::SweepFolder;
use super::training::{model_arguments, tokenizer_arguments};
use crate::error::{Error, Result};
use crate::json_text::without_mark;
use crate::plan::SweepPlan;
use crate::request::{PlannedRun, TokenizerSource};
use crate::result_line::ResultLine;
use crate::results_file;

/// Maximum time for a training process of an earlier call to save and end.
const PATIENCE: Duration = Duration::from_secs(120);

/// The tokenizer that a sweep trains, in its folder.
pub(crate) const TRAINED: &str = "tokenizer/tokenizer.safetensors";

/// The programs that a sweep starts.
pub(super) struct Programs {
    tokenizer: PathBuf,
    train: PathBuf,
    model: PathBuf,
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
}

impl Launcher<'_> {
    /// Runs all unfinished stages.
    pub(super) fn all(&mut self) -> Result<()> {
        self.start_over()?;
        let tokenizer = self.tokenizer()?;
        self.tokens(&tokenizer)?;
        self.reconstruction(&tokenizer)?;
        for run in &self.plan.runs {
            self.train(run, &tokenizer)?;
            self.sample(run)?;
        }
        Ok(())
    }

    /// The run folder of the piece `name`, if it is a training.
    fn training_folder(&self, name: &str) -> Option<PathBuf> {
        if name == "tokenizer" {
            return Some(self.root.join("tokenizer"));
        }
        self.plan.runs.iter().any(|run| run.name == name).then(|| self.root.join("runs").join(name))
    }

    /// Runs one program as the piece `name` of the work, until it ends.
    fn start(
        &mut self,
        name: &str,
        program: &Path,
        arguments: &[String],
        log: &Path,
    ) -> Result<(Ending, f64)> {
        self.stop.check()?;
        self.progress.begin(name);
        let training = self.training_folder(name);
        let (progress, folder) = (&mut self.progress, &mut self.folder);
        let mut noted = Ok(());
        let mut note_saved = || match &training {
            Some(run) if evidence::has_checkpoint(run) => folder.note_saved(name),
            _ => Ok(()),
        };
        note_saved()?;
        let ending = child::run(program, arguments, log, &self.stop, &mut |event| {
            if event.is_some() && noted.is_ok() {
                noted = note_saved();
            }
            progress.tick(event);
        });
        noted.and_then(|()| note_saved())?;
        let seconds = self.progress.end(matches!(ending, Ok(Ending::Done(_))));
        let ending = ending?;
        if self.stop.count() > 0 && !matches!(ending, Ending::Done(_)) {
            return Err(Error::Interrupted);
        }
        Ok((ending, seconds))
    }

    fn is_done(&self, run: &PlannedRun) -> bool {
        self.done.iter().any(|line| line.name == run.name)
    }

    /// A finished stage with the last event of its program. Warns if the event cannot be read.
    fn finished<T: DeserializeOwned>(
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
    fn stage<T: DeserializeOwned>(
        &mut self,
        name: &str,
        what: &str,
        program: &Path,
        arguments: &[String],
    ) -> Result<FinishedStage<T>> {
        let log = self.root.join("logs").join(format!("{name}.log"));
        let (ending, seconds) = self.start(name, program, arguments, &log)?;
        let event = ending.done(&self.stop, what, log)?;
        self.progress.note(&format!("{name}: done in {}", crate::quantity::duration(seconds)));
        Ok(self.finished(name, seconds, event))
    }

    /// The tokenizer: `builtin` or a file. Trains it if the plan says so.
    fn tokenizer(&mut self) -> Result<String> {
        let (preset, set) = match &self.plan.tokenizer {
            TokenizerSource::Given(name) => return Ok(name.clone()),
            TokenizerSource::Beside(other) => {
                let file = self.root.with_file_name(other).join(TRAINED);
                return Ok(file.display().to_string());
            }
            TokenizerSource::Trained { preset, set } => (preset, set),
        };
        let file = self.root.join(TRAINED);
        let needed = self.plan.runs.iter().any(|run| !self.is_done(run));
        let trained = self.folder.stages().tokenizer.is_some();
        if trained && (file.is_file() || !needed) {
            self.progress.skip("tokenizer");
        } else {
            let run = self.root.join("tokenizer");
            self.wait_for_lock(&run)?;
            let arguments = tokenizer_arguments(self.data, preset, set, &run, &self.place);
            let program = self.programs.train.clone();
            let stage = self.stage("tokenizer", "training the tokenizer", &program, &arguments)?;
            self.folder.finish_stage(|stages| stages.tokenizer = Some(stage))?;
        }
        Ok(file.display().to_string())
    }

    fn tokens(&mut self, tokenizer: &str) -> Result<()> {
        let out = self.root.join("tokens.h5");
        // Only unfinished sizes need the tokens.
        let needed = self.plan.runs.iter().any(|run| !self.is_done(run));
        if self.folder.stages().tokens.is_some() && (out.is_file() || !needed) {
            self.progress.skip("tokens");
            return Ok(());
        }
        let data = &self.plan.preset.data;
        let mut arguments: Vec<String> =
            ["encode", "--data", self.data, "--tokenizer", tokenizer, "--json"].map(str::to_owned).to_vec();
        for (flag, value) in [
            ("--out", out.display().to_string()),
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
        let program = self.programs.tokenizer.clone();
        let stage = self.stage("tokens", "encoding the images", &program, &arguments)?;
        self.folder.finish_stage(|stages| stages.tokens = Some(stage))
    }

    /// Runs a program that writes an image for the report. If it fails, the sweep continues.
    fn image<T: DeserializeOwned>(
        &mut self,
        name: &str,
        program: &Path,
        arguments: &[String],
        out: &Path,
    ) -> Result<Option<FinishedStage<T>>> {
        let log = self.root.join("logs/samples.log");
        match self.start(name, program, arguments, &log)? {
            (Ending::Done(event), seconds) if out.is_file() => {
                return Ok(Some(self.finished(name, seconds, event)));
            }
            (Ending::Failed { message, .. }, _) => {
                self.warn(format!("{name}: {message} (see {})", log.display()));
            }
            _ => self.warn(format!("{name}: no image was written (see {})", log.display())),
        }
        Ok(None)
    }

    fn reconstruction(&mut self, tokenizer: &str) -> Result<()> {
        let out = self.root.join("samples/reconstruction.png");
        if out.is_file() {
            self.progress.skip("reconstruction");
            return Ok(());
        }
        let arguments = reconstruct_arguments(self.data, tokenizer, &out, &self.place);
        let program = self.programs.tokenizer.clone();
        match self.image::<ReconstructSummary>("reconstruction", &program, &arguments, &out)? {
            Some(stage) => self.folder.finish_stage(|stages| stages.reconstruction = Some(stage)),
            None => Ok(()),
        }
    }

    fn sample(&mut self, run: &PlannedRun) -> Result<()> {
        let name = format!("samples of {}", run.name);
        let out = self.root.join("samples").join(format!("{}.png", run.name));
        let folder = self.root.join("runs").join(&run.name);
        if out.is_file() || !self.is_done(run) {
            self.progress.skip(&name);
            return Ok(());
        }
        let arguments = sample_arguments(self.plan, run, &folder, &out, &self.place);
        let program = self.programs.model.clone();
        match self.image(&name, &program, &arguments, &out)? {
            Some(stage) => self.folder.finish_stage(|stages| {
                stages.samples.insert(name, stage);
            }),
            None => Ok(()),
        }
    }

    /// Trains one size, unless it is finished. A failure does not stop the other sizes.
    fn train(&mut self, run: &PlannedRun, tokenizer: &str) -> Result<()> {
        if self.is_done(run) {
            self.progress.skip(&run.name);
            return Ok(());
        }
        let folder = self.root.join("runs").join(&run.name);
        let log = self.root.join("runs").join(format!("{}.log", run.name));
        self.wait_for_lock(&folder)?;
        // An earlier call trained the size, but stopped before it wrote the result.
        if let Some(result) = read_json(&folder.join("result.json")) {
            self.progress.skip(&run.name);
            self.progress.note(&format!("{}: read its result from {}", run.name, folder.display()));
            return self.keep(run, &result, &log);
        }
        self.folder.begin_run(&run.name, &run.settings())?;
        let tokens = self.root.join("tokens.h5");
        let arguments = model_arguments(run, &tokens, tokenizer, &folder, &self.place);
        let program = self.programs.train.clone();
        match self.start(&run.name, &program, &arguments, &log)?.0 {
            Ending::Done(event) => {
                let result = event.or_else(|| read_json(&folder.join("result.json"))).unwrap_or(Value::Null);
                self.keep(run, &result, &log)
            }
            Ending::Interrupted => {
                self.fail(run, "another process stopped it after it saved a checkpoint", &log);
                Ok(())
            }
            Ending::Failed { message, code } => {
                // The trainer will refuse to resume again.
                let refused = code == Some(2) && arguments.iter().any(|a| a == "--resume");
                let again = if refused { "; to train it from the beginning, start it over" } else { "" };
                self.fail(run, &format!("{message}{again}"), &log);
                Ok(())
            }
        }
    }

    /// Renames the files of what starts over, before any stage.
    fn start_over(&mut self) -> Result<()> {
        for name in self.start_over {
            let path = if name == "tokens" {
                self.root.join("tokens.h5")
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

    /// Appends the result of a size to the results.
    fn keep(&mut self, run: &PlannedRun, result: &Value, log: &Path) -> Result<()> {
        let line = match result_line(self.plan, run, result) {
            Ok(line) => line,
            Err(why) => {
                self.fail(run, &why, log);
                return Ok(());
            }
        };
        results_file::append(&self.root.join("results.jsonl"), &line)?;
        self.progress.note(&format!(
            "{}: {} parameters, validation loss {:.4} (last scale {:.4}) in {}",
            run.name,
            crate::quantity::count(line.params as f64),
            line.val_loss_all,
            line.val_loss_last,
            crate::quantity::duration(line.seconds)
        ));
        self.done.push(line);
        Ok(())
    }

    /// Number of images that the encoder could not read.
    pub(super) fn unreadable_images(&self) -> u64 {
        let tokens = self.folder.stages().tokens.as_ref();
        tokens.and_then(|stage| stage.result.as_ref()).map_or(0, |result| result.bad as u64)
    }

    fn fail(&mut self, run: &PlannedRun, why: &str, log: &Path) {
        self.progress.note(&format!(
            "{} failed: {why} (see {}); continuing with the other sizes",
            run.name,
            log.display()
        ));
        self.failed.push((run.name.clone(), why.to_owned()));
    }

    /// Prints a warning, and keeps it for the outcome.
    pub(super) fn warn(&mut self, text: String) {
        self.progress.note(&format!("warning: {text}"));
        self.warnings.push(text);
    }

    /// Waits until a training process of an earlier, killed call has saved in `run`.
    fn wait_for_lock(&self, run: &Path) -> Result<()> {
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

fn read_json(path: &Path) -> Option<Value> {
    serde_json::from_str(without_mark(&std::fs::read_to_string(path).ok()?)).ok()
}
