//! Starts the programs that sample from models, score the samples and reconstructions, and time the models.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use var_tokenizer::files::{make_folder, write_atomically};

use super::outcome::{distance, finished, read};
use super::places::{evaluation_of, folder_of, grid_of, has_tokenizer, reconstruction_of, timed};
use super::plan::{ComparisonPlan, PlannedArm};
use crate::error::{Error, Result};
use crate::fit::FitOptions;
use crate::report;
use crate::request::PlannedRun;
use crate::sweep::SweepOptions;
use crate::sweep::child::{self, Ending};
use crate::sweep::progress::SweepProgress;
use crate::sweep::samples::sample_arguments;
use crate::sweep::stages::TRAINED;
use crate::sweep::stop::Stop;

/// Reconstructions that are scored at most.
const RECONSTRUCTIONS: &str = "2000";
/// How often each case is timed.
const ROUNDS: &str = "3";

/// The programs that score and time.
struct Programs {
    tokenizer: PathBuf,
    model: PathBuf,
    eval: PathBuf,
}

/// Scores a comparison in its folder.
pub(super) struct Scorer<'a> {
    plan: &'a ComparisonPlan,
    root: PathBuf,
    device: Option<&'a String>,
    precision: Option<String>,
    quiet: bool,
    fit: &'a FitOptions,
    progress: SweepProgress,
    stop: Stop,
    programs: Programs,
}

impl<'a> Scorer<'a> {
    /// Finds the programs. `root`: the absolute path of the folder.
    ///
    /// # Errors
    /// When a program is missing, or the system refuses a handler of signals.
    pub(super) fn new(plan: &'a ComparisonPlan, options: &'a SweepOptions, root: PathBuf) -> Result<Self> {
        Ok(Self {
            plan,
            root,
            device: options.device.as_ref(),
            precision: options.precision.clone(),
            quiet: options.quiet,
            fit: &options.fit,
            progress: SweepProgress::new(true, 1, []),
            stop: Stop::listen()?,
            programs: Programs {
                tokenizer: child::program("var-tokenizer")?,
                model: child::program("var-model")?,
                eval: child::program("var-eval")?,
            },
        })
    }

    /// The folder of the comparison.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The precision that was asked for, or that the first model was trained in.
    pub(super) fn precision(&self) -> Option<&String> {
        self.precision.as_ref()
    }

    /// Takes the precision of a finished training for all that follows, unless one was asked for.
    pub(super) fn settle_precision(&mut self, trained: Option<&str>) {
        let open = self.precision.as_ref().is_none_or(|asked| asked == "auto");
        if let Some(trained) = trained.filter(|text| open && !text.is_empty()) {
            self.precision = Some(trained.to_owned());
        }
    }

    /// Fails after a signal.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub(super) fn check_stop(&self) -> Result<()> {
        self.stop.check()
    }

    /// Scores the tokenizer of an arm, if it trains one, and samples of its finished models.
    ///
    /// # Errors
    /// When a program fails, or a signal comes.
    pub(super) fn score(&mut self, arm: &PlannedArm) -> Result<()> {
        let done = finished(arm, &self.root)?;
        let runs = arm.plan.runs.iter().filter(|run| done.iter().any(|line| line.name == run.name));
        let runs: Vec<&PlannedRun> = runs.collect();
        let tokenizer = has_tokenizer(arm) && self.root.join(&arm.name).join(TRAINED).is_file();
        self.progress = SweepProgress::new(self.quiet, 1, self.pieces(arm, &runs, tokenizer));
        let result = self.score_all(arm, &runs, tokenizer);
        self.progress.finish();
        // The page of the arm shows the scores that came after its sweep.
        if result? && arm.trains() {
            report::analyse(&self.root.join(&arm.name), self.fit)?;
        }
        Ok(())
    }

    /// Whether there was something to score.
    fn score_all(&mut self, arm: &PlannedArm, runs: &[&PlannedRun], tokenizer: bool) -> Result<bool> {
        let mut new = false;
        if tokenizer {
            self.reconstructions(arm)?;
        }
        for run in runs {
            new |= self.samples(arm, run)?;
        }
        Ok(new)
    }

    /// The pieces of work, with a rough time.
    fn pieces(&self, arm: &PlannedArm, runs: &[&PlannedRun], tokenizer: bool) -> Vec<(String, f64, bool)> {
        let mut pieces = Vec::new();
        if tokenizer {
            pieces.push((reconstructions(arm), 60.0, false));
        }
        for run in runs {
            pieces.push((samples(arm, run), self.plan.scoring.sampling_seconds(), false));
            pieces.push((score(arm, run), self.plan.scoring.score_seconds(), false));
        }
        pieces
    }

    /// Runs a program as the piece `name` of the work.
    fn start(&mut self, name: &str, program: &Path, arguments: &[String]) -> Result<Option<Value>> {
        self.stop.check()?;
        let log = self.root.join("logs/scores.log");
        let progress = &mut self.progress;
        progress.begin(name);
        let ending =
            child::run(program, arguments, &log, &self.stop, &mut |event| progress.tick(name, event));
        progress.end(name, matches!(ending, Ok(Ending::Done(_))));
        ending?.done(&self.stop, name, log)
    }

    /// Flags with the device, and with the precision for programs that have it.
    fn place(&self, precision: bool) -> Vec<String> {
        let precision = self.precision.as_ref().filter(|_| precision);
        let flags = [("--device", self.device), ("--precision", precision)];
        flags
            .into_iter()
            .filter_map(|(flag, value)| Some([flag.to_owned(), value?.clone()]))
            .flatten()
            .collect()
    }

    /// Scores the reconstructions of an arm's tokenizer.
    fn reconstructions(&mut self, arm: &PlannedArm) -> Result<()> {
        let name = reconstructions(arm);
        let folder = self.root.join(reconstruction_of(arm));
        if distance(&folder)?.is_some() {
            self.progress.skip(&name);
            return Ok(());
        }
        let images = folder.join("images");
        let tokenizer = self.root.join(&arm.name).join(TRAINED).display().to_string();
        if !images.join("done").is_file() {
            if images.exists() {
                std::fs::remove_dir_all(&images).map_err(|e| Error::io(&images, e))?;
            }
            make_folder(&folder)?;
            let mut arguments =
                words(&["reconstruct", "--data", arm.plan.data()?, "--tokenizer", &tokenizer]);
            arguments.extend(words(&["--folder", &images.display().to_string(), "--json"]));
            arguments.extend(self.place(true));
            let program = self.programs.tokenizer.clone();
            self.start(&name, &program, &arguments)?;
            write_atomically(&images.join("done"), b"")?;
        }
        let mut arguments = words(&["score", "--metrics", "fd", "--reconstructions", "--json"]);
        for (flag, value) in [
            ("--samples", images.join("reconstructions").display().to_string()),
            ("--reference", images.join("originals").display().to_string()),
            ("--limit", RECONSTRUCTIONS.into()),
            ("--reference-limit", RECONSTRUCTIONS.into()),
            ("--out", folder.display().to_string()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments.extend(self.place(false));
        let program = self.programs.eval.clone();
        self.start(&name, &program, &arguments).map(drop)
    }

    /// Samples from a model and scores the samples, unless that is done. Gives whether it was not.
    fn samples(&mut self, arm: &PlannedArm, run: &PlannedRun) -> Result<bool> {
        let (sampling, scoring) = (samples(arm, run), score(arm, run));
        let folder = self.root.join(evaluation_of(self.plan, arm, run));
        let grid = self.root.join(grid_of(self.plan, arm, run));
        let scored = distance(&folder)?.is_some();
        if scored && grid.is_file() {
            self.progress.skip(&sampling);
            self.progress.skip(&scoring);
            return Ok(false);
        }
        make_folder(&folder)?;
        let model = self.root.join(folder_of(arm, run));
        let program = self.programs.model.clone();
        if !grid.is_file() {
            let arguments = sample_arguments(&arm.plan, run, &model, &grid, &self.place(true));
            self.start(&sampling, &program, &arguments)?;
        }
        if scored {
            return Ok(true);
        }
        let file = folder.join("samples.npz");
        let mut arguments = self.sampling(arm, run, &model);
        if begun(&folder)? {
            arguments.push("--resume".into());
        }
        arguments.extend(words(&["--out", &file.display().to_string()]));
        self.start(&sampling, &program, &arguments)?;
        // One reference for all arms, that of the first: each arm has the same images.
        let reference = self.plan.arms.first().map_or(&arm.models, |first| &first.name);
        let mut arguments = words(&["score", "--metrics", "fd", "--reference-split", "val", "--json"]);
        for (flag, value) in [
            ("--samples", file.display().to_string()),
            ("--reference", self.root.join(reference).join("tokens.h5").display().to_string()),
            ("--reference-cache", self.root.join("reference").display().to_string()),
            ("--bootstrap", self.plan.scoring.bootstrap.to_string()),
            ("--out", folder.display().to_string()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments.extend(self.place(false));
        let program = self.programs.eval.clone();
        self.start(&scoring, &program, &arguments)?;
        Ok(true)
    }

    /// Arguments of `var-model sample` for the scored samples, without the output.
    fn sampling(&self, arm: &PlannedArm, run: &PlannedRun, model: &Path) -> Vec<String> {
        let sample = &arm.plan.preset.sample;
        let per_class = self.plan.scoring.images.div_ceil(arm.plan.images.classes.max(1) as u64);
        let mut arguments = words(&["sample", "--classes", "id:all", "--json"]);
        for (flag, value) in [
            ("--run", model.display().to_string()),
            ("--per-class", per_class.to_string()),
            ("--cfg", sample.cfg.to_string()),
            ("--top-k", sample.top_k.to_string()),
            ("--top-p", sample.top_p.to_string()),
            ("--seed", run.seed.to_string()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments.extend(self.place(true));
        arguments
    }

    /// Times the models in one run of the program, unless that is done for the same models and settings.
    ///
    /// # Errors
    /// When the program fails, or a signal comes.
    pub(super) fn time(&mut self) -> Result<()> {
        let mut models = Vec::new();
        for (arm, run) in timed(self.plan) {
            if finished(arm, &self.root)?.iter().any(|line| line.name == run.name) {
                models.push(self.root.join(folder_of(arm, run)).display().to_string());
            }
        }
        let (false, Some((first, others))) = (self.plan.scoring.speed.is_empty(), models.split_first())
        else {
            return Ok(());
        };
        let path = self.root.join("speed.json");
        let batches: Vec<String> = self.plan.scoring.speed.iter().map(u64::to_string).collect();
        let cfg = self.plan.arms.first().map_or(0.0, |arm| arm.plan.preset.sample.cfg);
        let mut arguments = words(&["speed", "--json", "--rounds", ROUNDS, "--run", first]);
        for run in others {
            arguments.extend(words(&["--also", run]));
        }
        arguments.extend(words(&["--batch", &batches.join(","), "--cfg", &cfg.to_string()]));
        arguments.extend(self.place(true));
        let known: Option<Value> = read(&path)?;
        if known.is_some_and(|known| known["asked"] == json!(arguments)) {
            return Ok(());
        }
        self.progress =
            SweepProgress::new(self.quiet, 1, [("speed".to_owned(), 20.0 * models.len() as f64, false)]);
        let program = self.programs.model.clone();
        let report = self.start("speed", &program, &arguments);
        self.progress.finish();
        let Some(report) = report? else {
            return Err(Error::file(&path, "var-model speed printed no times; see logs/scores.log"));
        };
        let content = json!({"asked": arguments, "report": report});
        Ok(write_atomically(&path, format!("{content:#}\n").as_bytes())?)
    }
}

/// Whether an earlier call left samples, or a part of them.
fn begun(folder: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    Ok(entries.flatten().any(|entry| entry.file_name().as_encoded_bytes().starts_with(b"samples.")))
}

fn reconstructions(arm: &PlannedArm) -> String {
    format!("reconstructions of {}", arm.name)
}

fn samples(arm: &PlannedArm, run: &PlannedRun) -> String {
    format!("samples of {} {}", arm.name, run.name)
}

fn score(arm: &PlannedArm, run: &PlannedRun) -> String {
    format!("score of {} {}", arm.name, run.name)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
