//! `cargo xtask eval-fid`: samples images with the published settings, and scores them.
//!
//! Starts one program after another: `var-model sample` and `var-eval score`, which both resume earlier work, and
//! `var-scaling curve` for a sweep over a setting.

mod model;
mod runs;
mod settings;
mod sweep;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::error::{ChildFailed, bad_use};
use crate::project::{Extent, Project};
use crate::setup::REFERENCES;
use crate::{say, setup};
use model::Model;
use runs::{checked, newest, sweep_of, tokens_of};
use settings::Settings;
use sweep::Sweep;

/// Shown below `cargo xtask eval-fid --help`.
pub const EXAMPLES: &str =
    "The images are in OUT/SETTINGS/samples.npz, the scores next to them in metrics.json and metrics.md.
To resume after an interruption, run the same command again.

Examples:
  cargo xtask eval-fid                                 (newest run in runs/, its training images)
  cargo xtask eval-fid --model var-d16 --reference imagenet-256 \\
      -- --network inception-fid --preprocessing torch-fidelity              (FID as published)
  cargo xtask eval-fid --samples others.npz --reference statistics.npz
  cargo xtask eval-fid --run runs/sweep-emoji-nano -n 1000      (all sizes; then in the report)
  cargo xtask eval-fid --run runs/small --sweep cfg=1.0:4.0:0.5
  cargo xtask eval-fid --run runs/d16 --sweep guided-to=6:10:1
  cargo xtask eval-fid -- --metrics fd,kid,pr --bootstrap 200

Options after `--` go to `var-eval score`; see `var-eval score --help`.";

/// Images per class with the published settings.
const PER_CLASS: u64 = 50;
/// Least number of images, for models of few classes.
const LEAST: u64 = 5000;
/// The averaged weights of a run.
const AVERAGED: &str = "model-ema.safetensors";
/// The built-in images; not a path.
const EMOJI: &str = "emoji";
/// The signal that no program can catch.
const KILL: i32 = 9;
/// The grid: number of classes, and images per class.
const GRID: (usize, u64) = (10, 8);

/// Options of `eval-fid`.
#[derive(clap::Args)]
pub struct Options {
    /// Run folder, or sweep folder for all of its runs [default: the newest run in runs/]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Model file or published name (var-d16) to sample instead of a run; needs --reference
    #[arg(long, value_name = "FILE", conflicts_with_all = ["run", "samples", "ema"], requires = "reference")]
    model: Option<OsString>,
    /// Sample from the averaged weights of the run (trained with `--set ema=…`)
    #[arg(long, conflicts_with = "samples")]
    ema: bool,
    /// Images to score instead of sampling: folder, tar or npz
    #[arg(long, value_name = "PATH", conflicts_with_all = ["run", "sweep", "number"])]
    samples: Option<PathBuf>,
    /// Images, statistics or features to compare with, or a published reference: imagenet-256 or imagenet-512, fetched once
    /// [default: the images of the run]
    #[arg(long, value_name = "PATH")]
    reference: Option<PathBuf>,
    /// The images of the run to compare with: train, as published references, or val, which are fewer
    #[arg(long, value_name = "PART", default_value = "train", value_parser = ["train", "val", "all"],
        conflicts_with_all = ["reference", "samples"])]
    reference_split: String,
    /// Number of samples, rounded up to the same number per class [default: 50 per class, at least 5000]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    number: Option<u64>,
    /// Classifier-free guidance at the last scale
    #[arg(long, default_value_t = 1.5)]
    cfg: f64,
    /// Sample among this many most likely codes; 0 for all
    #[arg(long, default_value_t = 900)]
    top_k: u64,
    /// Sample among the codes that together reach this probability; 0 for all
    #[arg(long, default_value_t = 0.96)]
    top_p: f64,
    /// Divisor of the logits
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// The last scale with guidance, counted from 1; later scales take half the work [default: all have it]
    #[arg(long, value_name = "SCALE")]
    guided_to: Option<u64>,
    /// Smaller model (run folder or model file) that continues after --large-scales
    #[arg(long, value_name = "PATH", conflicts_with = "samples")]
    small_model: Option<PathBuf>,
    /// Number of scales that the model itself samples before the smaller one continues
    #[arg(long, value_name = "N", requires = "small_model")]
    large_scales: Option<u64>,
    /// Seed of the samples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Number of images per batch
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long)]
    device: Option<String>,
    /// Precision of sampling: auto (measures), f32 or bf16
    #[arg(long)]
    precision: Option<String>,
    /// Score several values of cfg, top-k, top-p, temperature, guided-to or large-scales, and draw the curve
    #[arg(long, value_name = "KEY=FROM:TO:STEP")]
    sweep: Option<Sweep>,
    /// Folder for samples and scores [default: RUN/evaluation; with --model: evaluation/NAME; with --samples: evaluation]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Further options of `var-eval score`
    #[arg(last = true, value_name = "SCORE OPTIONS")]
    score: Vec<OsString>,
}

/// Samples, scores, and draws.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let runs = match &options.run {
        _ if options.samples.is_some() || options.model.is_some() => Vec::new(),
        Some(run) => checked(run)?,
        None => vec![newest(Path::new("runs"))?],
    };
    if runs.len() > 1 && options.out.is_some() {
        return Err(bad_use("--out is for one run; the scores of a sweep are in the folders of its runs"));
    }
    if runs.is_empty() && options.reference.is_none() {
        return Err(bad_use("--samples needs --reference: images, statistics (.npz) or features (.h5)"));
    }
    if let Some(run) = runs.iter().find(|run| options.ema && !run.join(AVERAGED).is_file()) {
        return Err(bad_use(format!(
            "{} has no averaged weights ({AVERAGED}): it was trained without `--set ema=…`; omit --ema",
            run.display()
        )));
    }
    // Bad input fails before the first image is sampled.
    for (flag, path) in [("--samples", &options.samples), ("--reference", &options.reference)] {
        let is_word = |path: &Path| {
            path == Path::new(EMOJI)
                || flag == "--reference" && REFERENCES.iter().any(|word| path == Path::new(word))
        };
        if let Some(path) = path.as_ref().filter(|path| !is_word(path) && !path.exists()) {
            return Err(bad_use(format!("{}: no such file or folder; correct {flag}", path.display())));
        }
    }
    let mut models = runs.iter().map(|run| Model::of_run(run)).collect::<Result<Vec<_>>>()?;
    if options.reference.is_none() {
        runs.iter().try_for_each(|run| tokens_of(run).map(drop))?;
    }
    let sweeps_scales = options.sweep.as_ref().is_some_and(Sweep::needs_small);
    if options.small_model.is_none() && sweeps_scales {
        return Err(bad_use("--sweep large-scales needs --small-model: the model that continues"));
    }
    if options.small_model.is_some() && options.large_scales.is_none() && !sweeps_scales {
        return Err(bad_use("--small-model needs --large-scales: after how many scales it continues"));
    }
    if options.sweep.is_some() && !measures_distance(&options.score) {
        return Err(bad_use("--sweep draws a curve of the Fréchet distance: add fd to --metrics"));
    }
    setup::ensure(project)?;
    if uses_default_network(&options.score) {
        setup::ensure_features(project)?;
    }
    let programs = project.build(Extent::Programs)?;
    let tools = Tools {
        sample: &programs["var-model"],
        score: &programs["var-eval"],
        scaling: &programs["var-scaling"],
    };
    // What cannot be fetched is noticed before the first image is sampled, too.
    let published = published(options);
    if !published.is_empty() {
        start(Command::new(tools.score).arg("fetch").args(published))?;
    }
    if let Some(samples) = &options.samples {
        let out = options.out.clone().unwrap_or_else(|| "evaluation".into());
        return tools.score(options, samples, None, &out);
    }
    if let Some(name) = &options.model {
        models.push(Model::named(name, tools.sample)?);
    }
    for model in &models {
        if models.len() > 1 {
            say(&format!("eval-fid: {}\n", model.name()));
        }
        tools.evaluate(options, model)?;
    }
    // The report of a sweep shows the scores of its runs.
    match runs.first().and_then(|run| sweep_of(run)) {
        Some(sweep) if options.out.is_none() => tools.report(&sweep),
        _ => Ok(()),
    }
}

/// The programs that are started.
struct Tools<'a> {
    sample: &'a Path,
    score: &'a Path,
    scaling: &'a Path,
}

impl Tools<'_> {
    /// All values of a sweep, or the one that was asked for.
    fn evaluate(&self, options: &Options, model: &Model) -> Result<()> {
        let out = options.out.clone().unwrap_or_else(|| model.evaluation.clone());
        let plain = Settings {
            cfg: options.cfg,
            top_k: options.top_k as f64,
            top_p: options.top_p,
            temperature: options.temperature,
            guided_to: options.guided_to.map(|scale| scale as f64),
            large_scales: options.large_scales.map(|scales| scales as f64),
        };
        let Some(sweep) = &options.sweep else {
            return self.one(options, model, plain, &out).map(|_| ());
        };
        let mut points = Vec::new();
        for value in sweep.values() {
            say(&format!("eval-fid: {} = {value}\n", sweep.key()));
            let folder = self.one(options, model, sweep.applied(plain, value), &out)?;
            points.push((value, sweep::distance(&folder.join("metrics.json"))?));
        }
        let file = sweep.write(&points, &model.name().to_string(), &out)?;
        start(Command::new(self.scaling).arg("curve").arg(file))
    }

    /// Samples with `settings` and scores; the folder of both.
    fn one(&self, options: &Options, model: &Model, settings: Settings, out: &Path) -> Result<PathBuf> {
        let classes = model.classes;
        let number = options.number.unwrap_or_else(|| LEAST.max(PER_CLASS * classes as u64));
        let per_class = number.div_ceil(classes as u64);
        let average = if options.ema { "-ema" } else { "" };
        let name = settings.name(per_class * classes as u64, options.seed);
        let folder = out.join(format!("{name}{average}"));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot create the folder {}", folder.display()))?;
        let samples = folder.join("samples.npz");
        let mut sample = self.sampling(options, model, settings, "id:all", per_class);
        if samples.exists() || folder.join("samples.npz.partial").exists() {
            sample.arg("--resume");
        }
        start(sample.arg("--out").arg(&samples))?;
        let grid = folder.join("grid.png");
        if !grid.exists() {
            let shown: Vec<String> = (0..classes.min(GRID.0)).map(|class| format!("id:{class}")).collect();
            let mut sample = self.sampling(options, model, settings, &shown.join(","), GRID.1);
            start(sample.arg("--out").arg(&grid))?;
        }
        self.score(options, &samples, Some(model), &folder)?;
        Ok(folder)
    }

    /// `var-model sample` with all its settings, without the output.
    fn sampling(
        &self,
        options: &Options,
        model: &Model,
        settings: Settings,
        classes: &str,
        per_class: u64,
    ) -> Command {
        let mut command = Command::new(self.sample);
        command.arg("sample").args(model.flags());
        command.args(["--classes", classes, "--per-class", &per_class.to_string()]);
        if let Some(small) = &options.small_model {
            command.arg("--small-model").arg(small);
        }
        command.args(settings.arguments()).args(["--seed", &options.seed.to_string()]);
        if options.ema {
            command.arg("--ema");
        }
        if let Some(batch) = options.batch {
            command.args(["--batch", &batch.to_string()]);
        }
        for (flag, value) in [("--device", &options.device), ("--precision", &options.precision)] {
            command.args(value.iter().flat_map(|value| [flag, value]));
        }
        command
    }

    /// Draws and writes the report of a sweep again.
    fn report(&self, sweep: &Path) -> Result<()> {
        for command in ["plot", "report"] {
            start(Command::new(self.scaling).arg(command).arg(sweep))?;
        }
        Ok(())
    }

    /// Scores `samples` against the reference, or else against images of the run of `model`. Writes to `folder`.
    fn score(&self, options: &Options, samples: &Path, model: Option<&Model>, folder: &Path) -> Result<()> {
        let run = model.and_then(Model::run);
        let mut command = Command::new(self.score);
        command.arg("score").arg("--samples").arg(samples);
        match (&options.reference, run) {
            (Some(reference), _) => command.arg("--reference").arg(reference),
            (None, Some(run)) => command
                .arg("--reference")
                .arg(tokens_of(run)?)
                .args(["--reference-split", &options.reference_split]),
            (None, None) => &mut command,
        };
        if let Some(device) = &options.device {
            command.args(["--device", device]);
        }
        // All values of a setting, and all runs of a sweep, share the reference.
        let cache = match run.filter(|_| options.out.is_none()) {
            Some(run) => sweep_of(run).unwrap_or_else(|| run.to_owned()).join("evaluation"),
            _ if model.is_some() => folder.parent().unwrap_or(folder).to_owned(),
            _ => folder.to_owned(),
        };
        command.arg("--out").arg(folder).arg("--reference-cache").arg(cache);
        start(command.args(&options.score))
    }
}

/// Starts a program and waits for it. The program prints its own errors, and Ctrl-C reaches it too. A program that a
/// signal ended cannot print, so this function reports the signal.
fn start(command: &mut Command) -> Result<()> {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {}", program.display()))?;
    if status.success() {
        return Ok(());
    }
    if let Some(signal) = status.signal() {
        bail!(
            "signal {signal} ended {name}{}; to resume, run the same command again",
            if signal == KILL { " (killed, perhaps out of memory)" } else { "" }
        );
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(anyhow::Error::new(ChildFailed(code)))
}

/// Whether `var-eval score` with these options measures a Fréchet distance, as it does by default.
fn measures_distance(score: &[OsString]) -> bool {
    let words: Vec<_> = score.iter().map(|option| option.to_string_lossy()).collect();
    let after = |i: usize| words.get(i + 1).map(|word| word.to_string());
    let lists: Vec<String> = words
        .iter()
        .enumerate()
        .filter_map(|(i, word)| match word.strip_prefix("--metrics=") {
            Some(list) => Some(list.to_owned()),
            None => (word == "--metrics").then(|| after(i)).flatten(),
        })
        .collect();
    lists.is_empty() || lists.iter().flat_map(|list| list.split(',')).any(|metric| metric.trim() == "fd")
}

/// What `var-eval score` with these options would fetch.
fn published(options: &Options) -> Vec<&'static str> {
    let reference = options.reference.as_ref().filter(|path| !path.exists());
    let mut names: Vec<&str> =
        REFERENCES.into_iter().filter(|word| reference.is_some_and(|path| path == Path::new(word))).collect();
    let words: Vec<String> =
        options.score.iter().map(|option| option.to_string_lossy().into_owned()).collect();
    let text = words.join(" ");
    if text.replace("--network=", "--network ").contains("--network inception-fid")
        && !text.contains("--weights")
    {
        names.push("inception");
    }
    names
}

/// Whether `var-eval score` with these options needs the weights that the set-up fetches.
fn uses_default_network(score: &[OsString]) -> bool {
    let options: Vec<String> = score.iter().map(|option| option.to_string_lossy().into_owned()).collect();
    !options.iter().any(|option| {
        ["--network", "--weights"]
            .iter()
            .any(|flag| option == flag || option.starts_with(&format!("{flag}=")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_after_what_was_sampled() {
        let published = Settings {
            cfg: 1.5,
            top_k: 900.0,
            top_p: 0.96,
            temperature: 1.0,
            guided_to: None,
            large_scales: None,
        };
        assert_eq!(published.name(50_000, 0), "cfg1.5-k900-p0.96-n50000-s0");
        assert_eq!(Settings { temperature: 0.9, ..published }.name(10, 3), "cfg1.5-k900-p0.96-t0.9-n10-s3");
        let less = Settings { guided_to: Some(8.0), large_scales: Some(7.0), ..published };
        assert_eq!(less.name(10, 3), "cfg1.5-k900-p0.96-g8-l7-n10-s3");
        assert!(less.arguments().join(" ").ends_with("--guide-scales 1-8 --large-scales 7"));
    }

    #[test]
    fn a_distance_is_measured_unless_other_metrics_are_asked_for() {
        let measures =
            |words: &[&str]| measures_distance(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(measures(&[]) && measures(&["--metrics", "kid,fd"]) && measures(&["--metrics=fd"]));
        assert!(!measures(&["--metrics", "kid,pr"]) && !measures(&["--metrics=is"]));
    }

    #[test]
    fn weights_are_fetched_only_for_the_network_that_has_them() {
        let options = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        assert!(uses_default_network(&options(&["--metrics", "fd"])));
        assert!(!uses_default_network(&options(&["--network", "inception-fid"])));
        assert!(!uses_default_network(&options(&["--weights=x.pth"])));
    }
}
