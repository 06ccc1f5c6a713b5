//! Runs a comparison: a sweep per arm, then scores of samples and reconstructions, times, and the report.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;
use var_tokenizer::files::{make_folder, write_atomically};
use var_tokenizer::progress::tell;

use super::outcome::{ComparisonOutcome, SpeedSummary, outcome, read};
use super::plan::{ComparisonPlan, PlannedArm};
use super::report;
use crate::error::{Error, Result};
use crate::fit::FitOptions;
use crate::request::{PlannedRun, TokenizerSource};
use crate::sweep::child::{self, Ending, Stop};
use crate::sweep::progress::SweepProgress;
use crate::sweep::samples::sample_arguments;
use crate::sweep::{self, SweepOptions};

/// Reconstructions that are scored at most.
const RECONSTRUCTIONS: &str = "2000";
/// How often each case is timed.
const ROUNDS: &str = "3";

/// How a comparison runs; no result depends on it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CompareOptions {
    /// Folder; each arm has one in it.
    pub out: PathBuf,
    /// Device for the other programs: `auto`, `cpu`, `cuda` or `cuda:N`.
    pub device: Option<String>,
    /// Precision for the other programs: `auto`, `f32` or `bf16`.
    pub precision: Option<String>,
    /// Prints no progress.
    pub quiet: bool,
}

impl CompareOptions {
    /// Flags with the device, and with the precision for programs that have it.
    fn place(&self, precision: bool) -> Vec<String> {
        let precision = self.precision.as_ref().filter(|_| precision);
        let flags = [("--device", self.device.as_ref()), ("--precision", precision)];
        flags
            .into_iter()
            .filter_map(|(flag, value)| Some([flag.to_owned(), value?.clone()]))
            .flatten()
            .collect()
    }
}

/// Where a model of an arm and its scores are, from the folder of the comparison.
pub(super) fn folder_of(arm: &PlannedArm, run: &PlannedRun) -> PathBuf {
    Path::new(&arm.models).join("runs").join(&run.name)
}

/// Where the samples of an arm's model are. Its name has all that the score depends on, so that other settings are
/// another evaluation.
pub(super) fn evaluation_of(plan: &ComparisonPlan, arm: &PlannedArm, run: &PlannedRun) -> PathBuf {
    let (sample, scoring) = (&arm.plan.preset.sample, &plan.scoring);
    let name = format!(
        "cfg{}-k{}-p{}-n{}-b{}",
        sample.cfg, sample.top_k, sample.top_p, scoring.images, scoring.bootstrap
    );
    folder_of(arm, run).join("evaluation").join(name)
}

/// Where the scores of the tokenizer of an arm are.
pub(super) fn reconstruction_of(arm: &PlannedArm) -> PathBuf {
    Path::new(&arm.name).join("reconstruction")
}

/// Where the sample grid of an arm's largest model is.
pub(super) fn grid_of(plan: &ComparisonPlan, arm: &PlannedArm, run: &PlannedRun) -> PathBuf {
    if arm.trains() {
        Path::new(&arm.name).join("samples").join(format!("{}.png", run.name))
    } else {
        evaluation_of(plan, arm, run).join("grid.png")
    }
}

/// The models that are timed: one seed of each size of each arm that trains.
pub(super) fn timed(plan: &ComparisonPlan) -> Vec<(&PlannedArm, &PlannedRun)> {
    let runs = |arm| {
        let plan: &PlannedArm = arm;
        plan.plan.runs.iter().filter(|run| run.seed == plan.plan.seed).map(move |run| (plan, run))
    };
    plan.arms.iter().filter(|arm| arm.trains()).flat_map(runs).collect()
}

/// Runs `plan`. Resumes the work of an earlier call.
///
/// # Errors
/// When the plan has no images, a folder has another sweep or is in use, a program fails, no size of an arm finishes, or a
/// signal comes. The outcome lists the sizes that failed.
pub fn compare(plan: &ComparisonPlan, options: &CompareOptions) -> Result<ComparisonOutcome> {
    let began = Instant::now();
    make_folder(&options.out.join("logs"))?;
    let mut failed = Vec::new();
    let trained: Vec<&PlannedArm> = plan.arms.iter().filter(|arm| arm.trains()).collect();
    for (i, arm) in trained.iter().enumerate() {
        if !options.quiet {
            tell(format_args!("arm {} of {}: {} ({})", i + 1, trained.len(), arm.name, arm.about));
        }
        let options = SweepOptions {
            out: options.out.join(&arm.name),
            device: options.device.clone(),
            precision: options.precision.clone(),
            quiet: options.quiet,
            start_over: Vec::new(),
            fit: FitOptions::default(),
        };
        let outcome = sweep::sweep(&arm.plan, &options)?;
        failed.extend(outcome.failed.into_iter().map(|(name, why)| (format!("{}/{name}", arm.name), why)));
    }
    let root = std::fs::canonicalize(&options.out).map_err(|e| Error::io(&options.out, e))?;
    let progress = SweepProgress::new(options.quiet, pieces(plan));
    let mut work = Work { plan, options, root, progress, stop: Stop::listen()?, bin: Programs::find()? };
    let done = work.all();
    work.progress.finish();
    done?;
    let mut outcome = outcome(plan, &work.root)?;
    outcome.failed = failed;
    outcome.seconds = began.elapsed().as_secs_f64();
    outcome.report = options.out.join("report.html");
    let path = options.out.join("comparison.json");
    write_atomically(&path, format!("{:#}\n", outcome.json()).as_bytes())?;
    report::write(plan, &outcome, &options.out)?;
    Ok(outcome)
}

/// The programs that score and time.
struct Programs {
    tokenizer: PathBuf,
    model: PathBuf,
    eval: PathBuf,
}

impl Programs {
    fn find() -> Result<Self> {
        Ok(Self {
            tokenizer: child::program("var-tokenizer")?,
            model: child::program("var-model")?,
            eval: child::program("var-eval")?,
        })
    }
}

/// What comes after the trainings.
struct Work<'a> {
    plan: &'a ComparisonPlan,
    options: &'a CompareOptions,
    root: PathBuf,
    progress: SweepProgress,
    stop: Stop,
    bin: Programs,
}

impl Work<'_> {
    fn all(&mut self) -> Result<()> {
        let plan = self.plan;
        for arm in &plan.arms {
            if has_tokenizer(arm) {
                self.reconstructions(arm)?;
            }
            for run in &arm.plan.runs {
                // A size that failed has no model.
                if self.root.join(folder_of(arm, run)).join("result.json").is_file() {
                    self.samples(arm, run)?;
                }
            }
        }
        if plan.scoring.speed.is_empty() { Ok(()) } else { self.speed() }
    }

    /// Runs a program as the piece `name` of the work.
    fn start(&mut self, name: &str, program: &Path, arguments: &[String]) -> Result<Option<Value>> {
        self.stop.check()?;
        let log = self.root.join("logs/scores.log");
        let progress = &mut self.progress;
        progress.begin(name);
        let ending = child::run(program, arguments, &log, &self.stop, &mut |event| progress.tick(event));
        progress.end(matches!(ending, Ok(Ending::Done(_))));
        match ending? {
            Ending::Done(event) => Ok(event),
            _ if self.stop.count() > 0 => Err(Error::Interrupted),
            Ending::Interrupted => Err(Error::Interrupted),
            Ending::Failed { message, code } => Err(Error::Stage {
                what: name.into(),
                message,
                code: if code == Some(2) { 2 } else { 1 },
                log: Some(log),
            }),
        }
    }

    /// Scores the reconstructions of an arm's tokenizer.
    fn reconstructions(&mut self, arm: &PlannedArm) -> Result<()> {
        let name = format!("reconstructions of {}", arm.name);
        let folder = self.root.join(reconstruction_of(arm));
        if folder.join("metrics.json").is_file() {
            self.progress.skip(&name);
            return Ok(());
        }
        let images = folder.join("images");
        let tokenizer = match &arm.plan.tokenizer {
            TokenizerSource::Given(file) => file.clone(),
            TokenizerSource::Trained { .. } => {
                self.root.join(&arm.name).join("tokenizer/tokenizer.safetensors").display().to_string()
            }
        };
        if !images.join("done").is_file() {
            if images.exists() {
                std::fs::remove_dir_all(&images).map_err(|e| Error::io(&images, e))?;
            }
            make_folder(&folder)?;
            let mut arguments =
                words(&["reconstruct", "--data", arm.plan.data()?, "--tokenizer", &tokenizer]);
            arguments.extend(words(&["--folder", &images.display().to_string(), "--json"]));
            arguments.extend(self.options.place(true));
            let program = self.bin.tokenizer.clone();
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
        arguments.extend(self.options.place(false));
        let program = self.bin.eval.clone();
        self.start(&name, &program, &arguments).map(drop)
    }

    /// Samples from a model and scores the samples.
    fn samples(&mut self, arm: &PlannedArm, run: &PlannedRun) -> Result<()> {
        let sampling = format!("samples of {} {}", arm.name, run.name);
        let scoring = format!("score of {} {}", arm.name, run.name);
        let folder = self.root.join(evaluation_of(self.plan, arm, run));
        let grid = self.root.join(grid_of(self.plan, arm, run));
        let scored = folder.join("metrics.json").is_file();
        if scored && grid.is_file() {
            self.progress.skip(&sampling);
            self.progress.skip(&scoring);
            return Ok(());
        }
        make_folder(&folder)?;
        let model = self.root.join(folder_of(arm, run));
        let program = self.bin.model.clone();
        if !grid.is_file() {
            let arguments = sample_arguments(&arm.plan, run, &model, &grid, &self.options.place(true));
            self.start(&sampling, &program, &arguments)?;
        }
        if scored {
            return Ok(());
        }
        let samples = folder.join("samples.npz");
        let mut arguments = self.sampling(arm, run, &model);
        if samples.exists() || folder.join("samples.npz.partial").exists() {
            arguments.push("--resume".into());
        }
        arguments.extend(words(&["--out", &samples.display().to_string()]));
        self.start(&sampling, &program, &arguments)?;
        // One reference for all arms: that of the first, as each arm has the same images.
        let reference = self.plan.arms.first().map_or(&arm.models, |first| &first.name);
        let mut arguments = words(&["score", "--metrics", "fd", "--reference-split", "val", "--json"]);
        for (flag, value) in [
            ("--samples", samples.display().to_string()),
            ("--reference", self.root.join(reference).join("tokens.h5").display().to_string()),
            ("--reference-cache", self.root.join("reference").display().to_string()),
            ("--bootstrap", self.plan.scoring.bootstrap.to_string()),
            ("--out", folder.display().to_string()),
        ] {
            arguments.extend([flag.to_owned(), value]);
        }
        arguments.extend(self.options.place(false));
        let program = self.bin.eval.clone();
        self.start(&scoring, &program, &arguments).map(drop)
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
        arguments.extend(self.options.place(true));
        arguments
    }

    /// Times all models in one run of the program.
    fn speed(&mut self) -> Result<()> {
        let path = self.root.join("speed.json");
        let models: Vec<PathBuf> = timed(self.plan)
            .into_iter()
            .map(|(arm, run)| self.root.join(folder_of(arm, run)))
            .filter(|run| run.join("result.json").is_file())
            .collect();
        let known: Option<SpeedSummary> = read(&path)?;
        let known = known.is_some_and(|speed| speed.has_all(&models, &self.plan.scoring.speed));
        let (Some((first, others)), false) = (models.split_first(), known) else {
            self.progress.skip("speed");
            return Ok(());
        };
        let batches: Vec<String> = self.plan.scoring.speed.iter().map(u64::to_string).collect();
        let cfg = self.plan.arms.first().map_or(0.0, |arm| arm.plan.preset.sample.cfg);
        let mut arguments =
            words(&["speed", "--run", &first.display().to_string(), "--json", "--rounds", ROUNDS]);
        for run in others {
            arguments.extend(words(&["--also", &run.display().to_string()]));
        }
        arguments.extend(words(&["--batch", &batches.join(","), "--cfg", &cfg.to_string()]));
        arguments.extend(self.options.place(true));
        let program = self.bin.model.clone();
        let report = self.start("speed", &program, &arguments)?;
        let report = report.ok_or_else(|| Error::file(&path, "var-model speed printed no times"))?;
        Ok(write_atomically(&path, format!("{report:#}\n").as_bytes())?)
    }
}

/// The pieces of work, with a rough time.
fn pieces(plan: &ComparisonPlan) -> Vec<(String, f64, bool)> {
    let mut pieces = Vec::new();
    let images = plan.scoring.images as f64;
    for arm in &plan.arms {
        if has_tokenizer(arm) {
            pieces.push((format!("reconstructions of {}", arm.name), 60.0, false));
        }
        for run in &arm.plan.runs {
            pieces.push((format!("samples of {} {}", arm.name, run.name), 0.02 * images, false));
            pieces.push((format!("score of {} {}", arm.name, run.name), 0.04 * images, false));
        }
    }
    if !plan.scoring.speed.is_empty() {
        pieces.push(("speed".into(), 20.0 * timed(plan).len() as f64, false));
    }
    pieces
}

/// Whether an arm brings a tokenizer of its own.
pub(super) fn has_tokenizer(arm: &PlannedArm) -> bool {
    arm.trains() && matches!(arm.plan.tokenizer, TokenizerSource::Trained { .. })
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
