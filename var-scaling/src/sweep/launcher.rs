//! Runs a plan in a folder: tokenizer, tokens, one training a size, samples; then fits, plots, report.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use var_tokenizer::locks::{Lock, Refusal};

use super::check::{Question, questions};
use super::child::{self, Ending, Stop};
use super::evidence;
use super::outcome::{Outcome, result_line};
use super::progress::Progress;
use super::samples::{reconstruct_arguments, sample_arguments};
use super::state::Folder;
use super::training::{model_arguments, tokenizer_arguments};
use crate::error::{Error, Result};
use crate::fit::FitOptions;
use crate::plan::{Plan, Run, TokenizerSource};
use crate::preparation::PICTURE_SECONDS;
use crate::report;
use crate::results::{self, ResultLine};
use crate::rows;
use crate::text::without_mark;

/// How a sweep is carried out; no result depends on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Options {
    /// Sweep folder.
    pub out: PathBuf,
    /// `--device` of the other programs.
    pub device: Option<String>,
    /// `--precision` of the other programs.
    pub precision: Option<String>,
    /// No progress.
    pub quiet: bool,
    /// Runs, or `tokens`, to do from the beginning; what they have is moved aside.
    pub start_over: Vec<String>,
    /// How laws are fitted at the end.
    pub fit: FitOptions,
}

/// How long an earlier training process may take to save and leave.
const PATIENCE: Duration = Duration::from_secs(120);

/// Carries out `plan`, going on where an earlier call stopped.
///
/// # Errors
/// When the plan names no pictures, the folder holds another sweep or is in use, the trainer refuses the
/// settings, tokenizer or tokens fail, no size finishes, or a signal came. Single sizes that fail are in the
/// outcome instead.
pub fn sweep(plan: &Plan, options: &Options) -> Result<Outcome> {
    let began = Instant::now();
    let data = plan.data()?;
    let programs = Programs {
        tokenizer: child::program("var-tokenizer")?,
        train: child::program("var-train")?,
        model: child::program("var-model")?,
    };
    let mut folder = Folder::open(&options.out, &plan.name)?;
    // Children may run anywhere and later calls may start elsewhere: all their paths are whole.
    let root = std::fs::canonicalize(&options.out).map_err(|e| Error::io(&options.out, e))?;
    folder.agree_shared(&plan.shared())?;
    let rows::Rows { lines: done, skipped, .. } = rows::open(&root.join("results.jsonl"))?;
    let finished = |name: &str| done.iter().any(|line| line.name == name);
    may_start_over(plan, options, finished)?;
    evidence::nothing_lost(&folder, plan, finished, &options.start_over)?;
    for name in &options.start_over {
        folder.forget(name)?;
    }
    for run in &plan.runs {
        folder.check_run(&run.name, &run.settings())?;
        check_result(&done, plan, run, &options.out)?;
    }
    let mut launcher = Launcher {
        plan,
        data,
        programs,
        progress: Progress::new(options.quiet, pieces(plan)),
        place: place(options),
        root,
        folder,
        done,
        failed: Vec::new(),
        // Those of the plan stand under its table.
        warnings: if options.quiet { plan.notes.clone() } else { Vec::new() },
        start_over: &options.start_over,
        stop: Stop::listen()?,
    };
    for why in skipped {
        launcher.warn(format!("results.jsonl: {why}"));
    }
    let outcome = launcher.all();
    launcher.progress.finish();
    outcome?;
    let bad = launcher.bad_pictures();
    let Launcher { failed, mut done, mut warnings, .. } = launcher;
    done.retain(|line| plan.runs.iter().any(|r| r.name == line.name));
    done.sort_by_key(|line| line.params);
    if done.is_empty() {
        let (name, why) = failed.into_iter().next().unwrap_or_default();
        return Err(Error::Stage {
            what: "every size".into(),
            message: format!("{name}: {why}"),
            code: 1,
            log: Some(options.out.join("runs")),
        });
    }
    let precisions = results::precisions(&done);
    if precisions.len() > 1 {
        warnings.push(format!("the sizes were not trained in one precision ({})", precisions.join(" and ")));
    }
    let (report, skipped) = report::analyse(&options.out, &options.fit)?;
    warnings.extend(skipped.into_iter().filter(|s| !s.starts_with("results.jsonl: ")));
    Ok(Outcome { report, results: done, failed, warnings, bad, seconds: began.elapsed().as_secs_f64() })
}

/// The pieces of work ahead, with the seconds that they are expected to take.
fn pieces(plan: &Plan) -> Vec<(String, f64, bool)> {
    let mut pieces: Vec<(String, f64, bool)> =
        plan.preparations.iter().map(|p| (p.name.to_owned(), p.seconds, false)).collect();
    pieces.push(("reconstruction".into(), PICTURE_SECONDS, false));
    for run in &plan.runs {
        pieces.push((run.name.clone(), run.seconds, true));
        pieces.push((format!("samples of {}", run.name), PICTURE_SECONDS, false));
    }
    pieces
}

/// Whether the names of `--start-over` are runs of the plan that are not finished, or `tokens`.
fn may_start_over(plan: &Plan, options: &Options, finished: impl Fn(&str) -> bool) -> Result<()> {
    for name in &options.start_over {
        if finished(name) {
            return Err(Error::Config(format!(
                "--start-over {name}: it is finished; train it again in a new sweep with another --out"
            )));
        }
        if name != "tokens" && !plan.runs.iter().any(|run| run.name == *name) {
            let names: Vec<&str> = plan.runs.iter().map(|run| run.name.as_str()).collect();
            return Err(Error::Config(format!(
                "--start-over {name}: not in this sweep; write tokens or one of {}",
                names.join(", ")
            )));
        }
    }
    Ok(())
}

fn place(options: &Options) -> Vec<String> {
    let flag = |name: &str, value: &Option<String>| {
        value.as_ref().map_or_else(Vec::new, |v| vec![name.to_owned(), v.clone()])
    };
    [flag("--device", &options.device), flag("--precision", &options.precision)].concat()
}

/// A finished size must have been trained with the settings that are asked for now.
fn check_result(done: &[ResultLine], plan: &Plan, run: &Run, out: &Path) -> Result<()> {
    match done.iter().find(|line| line.name == run.name) {
        Some(line) if !line.plan.is_empty() && line.plan != plan.fingerprint(run) => Err(Error::file(
            out.join("results.jsonl"),
            format!(
                "{} was trained with other settings; give the same ones to go on, or another --out for a new sweep",
                run.name
            ),
        )),
        _ => Ok(()),
    }
}

struct Programs {
    tokenizer: PathBuf,
    train: PathBuf,
    model: PathBuf,
}

struct Launcher<'a> {
    plan: &'a Plan,
    /// The pictures.
    data: &'a str,
    programs: Programs,
    progress: Progress,
    /// `--device` and `--precision` for every program.
    place: Vec<String>,
    root: PathBuf,
    folder: Folder,
    done: Vec<ResultLine>,
    failed: Vec<(String, String)>,
    warnings: Vec<String>,
    start_over: &'a [String],
    stop: Stop,
}

impl Launcher<'_> {
    fn all(&mut self) -> Result<()> {
        self.check()?;
        let tokenizer = self.tokenizer()?;
        self.tokens(&tokenizer)?;
        self.reconstruction(&tokenizer)?;
        for run in &self.plan.runs {
            self.train(run, &tokenizer)?;
            self.sample(run)?;
        }
        Ok(())
    }

    /// The folder of the training that the piece `name` is, if it is one.
    fn training_folder(&self, name: &str) -> Option<PathBuf> {
        if name == "tokenizer" {
            return Some(self.root.join("tokenizer"));
        }
        self.plan.runs.iter().any(|run| run.name == name).then(|| self.root.join("runs").join(name))
    }

    /// Starts one program as the piece `name` and waits for it.
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

    /// Asks the trainer whether it would take the settings of what lies ahead, before hours go into the
    /// stages that come first.
    fn check(&mut self) -> Result<()> {
        let questions = questions(self.plan, |run| self.is_done(run), self.has_tokenizer());
        let (program, log) = (self.programs.train.clone(), self.root.join("logs/check.log"));
        for Question { name, mut arguments } in questions {
            arguments.extend(self.place.iter().cloned());
            match self.start("check", &program, &arguments, &log)?.0 {
                Ending::Done(_) => {}
                Ending::Interrupted => return Err(Error::Interrupted),
                Ending::Failed { message, code: Some(2) } => {
                    return Err(Error::Config(format!("{name}: {message}")));
                }
                Ending::Failed { message, .. } => {
                    let what = format!("checking the settings of {name}");
                    return Err(Error::Stage { what, message, code: 1, log: Some(log) });
                }
            }
        }
        Ok(())
    }

    fn is_done(&self, run: &Run) -> bool {
        self.done.iter().any(|line| line.name == run.name)
    }

    /// A stage without which nothing goes on.
    fn stage(&mut self, name: &str, what: &str, program: &Path, arguments: &[String]) -> Result<()> {
        let log = self.root.join("logs").join(format!("{name}.log"));
        match self.start(name, program, arguments, &log)? {
            (Ending::Done(result), seconds) => {
                self.folder.finish_stage(name, seconds, result.unwrap_or(Value::Null))?;
                self.progress.note(&format!("{name}: done in {}", crate::words::duration(seconds)));
                Ok(())
            }
            (Ending::Interrupted, _) => Err(Error::Interrupted),
            (Ending::Failed { message, code }, _) => Err(Error::Stage {
                what: what.into(),
                message,
                code: if code == Some(2) { 2 } else { 1 },
                log: Some(log),
            }),
        }
    }

    /// The tokenizer as the other programs name it, trained when the plan says so.
    fn tokenizer(&mut self) -> Result<String> {
        let (preset, set) = match &self.plan.tokenizer {
            TokenizerSource::Given(name) => return Ok(name.clone()),
            TokenizerSource::Trained { preset, set } => (preset, set),
        };
        let file = self.trained_tokenizer();
        let needed = self.plan.runs.iter().any(|run| !self.is_done(run));
        if self.has_tokenizer() || (self.folder.has_stage("tokenizer") && !needed) {
            self.progress.skip("tokenizer");
        } else {
            let run = self.root.join("tokenizer");
            self.wait_for_lock(&run)?;
            let arguments = tokenizer_arguments(self.data, preset, set, &run, &self.place);
            let program = self.programs.train.clone();
            self.stage("tokenizer", "training the tokenizer", &program, &arguments)?;
        }
        Ok(file.display().to_string())
    }

    fn trained_tokenizer(&self) -> PathBuf {
        self.root.join("tokenizer/tokenizer.safetensors")
    }

    fn has_tokenizer(&self) -> bool {
        self.folder.has_stage("tokenizer") && self.trained_tokenizer().is_file()
    }

    fn tokens(&mut self, tokenizer: &str) -> Result<()> {
        let out = self.root.join("tokens.h5");
        if self.starts_over("tokens") {
            self.set_aside(&out)?;
        }
        // Without a size ahead nothing needs the tokens, whether they are still there or not.
        let needed = self.plan.runs.iter().any(|run| !self.is_done(run));
        if self.folder.has_stage("tokens") && (out.is_file() || !needed) {
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
        arguments.extend(self.place.iter().cloned());
        let program = self.programs.tokenizer.clone();
        self.stage("tokens", "encoding the pictures", &program, &arguments)
    }

    /// Pictures for the report; without them the sweep goes on.
    fn picture(&mut self, name: &str, program: &Path, arguments: &[String], out: &Path) -> Result<()> {
        let log = self.root.join("logs/samples.log");
        match self.start(name, program, arguments, &log)? {
            (Ending::Done(result), seconds) if out.is_file() => {
                self.folder.finish_stage(name, seconds, result.unwrap_or(Value::Null))
            }
            (Ending::Failed { message, .. }, _) => {
                self.warn(format!("{name}: {message} (see {})", log.display()));
                Ok(())
            }
            _ => {
                self.warn(format!("{name}: no picture was written (see {})", log.display()));
                Ok(())
            }
        }
    }

    fn reconstruction(&mut self, tokenizer: &str) -> Result<()> {
        let out = self.root.join("samples/reconstruction.png");
        if out.is_file() {
            self.progress.skip("reconstruction");
            return Ok(());
        }
        let arguments = reconstruct_arguments(self.data, tokenizer, &out, &self.place);
        let program = self.programs.tokenizer.clone();
        self.picture("reconstruction", &program, &arguments, &out)
    }

    fn sample(&mut self, run: &Run) -> Result<()> {
        let name = format!("samples of {}", run.name);
        let out = self.root.join("samples").join(format!("{}.png", run.name));
        let folder = self.root.join("runs").join(&run.name);
        if out.is_file() || !self.is_done(run) {
            self.progress.skip(&name);
            return Ok(());
        }
        let arguments = sample_arguments(self.plan, run, &folder, &out, &self.place);
        let program = self.programs.model.clone();
        self.picture(&name, &program, &arguments, &out)
    }

    /// Trains one size, unless that is done; a failure is noted and leaves the others alone.
    fn train(&mut self, run: &Run, tokenizer: &str) -> Result<()> {
        if self.is_done(run) {
            self.progress.skip(&run.name);
            return Ok(());
        }
        let folder = self.root.join("runs").join(&run.name);
        let log = self.root.join("runs").join(format!("{}.log", run.name));
        self.wait_for_lock(&folder)?;
        if self.starts_over(&run.name) {
            self.set_aside(&folder)?;
        }
        // Trained to the end by a call that was stopped before it could write the result down.
        if let Some(result) = read_json(&folder.join("result.json")) {
            self.progress.skip(&run.name);
            self.progress.note(&format!("{}: its result is taken from {}", run.name, folder.display()));
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
                self.fail(run, "stopped from outside after saving", &log);
                Ok(())
            }
            Ending::Failed { message, code } => {
                // What it refuses to resume it will refuse again.
                let refused = code == Some(2) && arguments.iter().any(|a| a == "--resume");
                let again = format!(" (to train it from the beginning: --start-over {})", run.name);
                self.fail(run, &format!("{message}{}", if refused { &again } else { "" }), &log);
                Ok(())
            }
        }
    }

    fn starts_over(&self, name: &str) -> bool {
        self.start_over.iter().any(|again| again == name)
    }

    fn set_aside(&self, path: &Path) -> Result<()> {
        if let Some(place) = evidence::set_aside(path)? {
            self.progress.note(&format!("starting over; what was there is kept in {place}"));
        }
        Ok(())
    }

    /// Writes the result of a size down.
    fn keep(&mut self, run: &Run, result: &Value, log: &Path) -> Result<()> {
        let line = match result_line(self.plan, run, result) {
            Ok(line) => line,
            Err(missing) => {
                self.fail(run, &format!("its result has no usable {missing}"), log);
                return Ok(());
            }
        };
        rows::append(&self.root.join("results.jsonl"), &line)?;
        self.progress.note(&format!(
            "{}: {} parameters, validation loss {:.4} (last scale {:.4}) in {}",
            run.name,
            crate::words::count(line.params as f64),
            line.val_loss_all,
            line.val_loss_last,
            crate::words::duration(line.seconds)
        ));
        self.done.push(line);
        Ok(())
    }

    /// Pictures that encoding could not read, by its own count.
    fn bad_pictures(&self) -> u64 {
        let tokens = self.folder.record.stages.get("tokens");
        tokens.and_then(|stage| stage.result.get("bad")).and_then(Value::as_u64).unwrap_or(0)
    }

    fn fail(&mut self, run: &Run, why: &str, log: &Path) {
        self.progress.note(&format!(
            "{} failed: {why} (see {}); going on with the others",
            run.name,
            log.display()
        ));
        self.failed.push((run.name.clone(), why.to_owned()));
    }

    fn warn(&mut self, text: String) {
        self.progress.note(&format!("warning: {text}"));
        self.warnings.push(text);
    }

    /// Waits for a training process of an earlier, killed call that is still saving in `run`.
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
                    "another process is still training here; stop it and try again",
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
