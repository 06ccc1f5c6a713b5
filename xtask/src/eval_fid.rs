//! `cargo xtask eval-fid`: pictures sampled from a checkpoint with the published settings, and their scores.
//!
//! It starts the programs one after another: `var-model sample` (goes on where it was stopped), `var-eval
//! score` (so does its extraction of features), and `var-scaling curve` for a sweep over a setting.

mod settings;
mod sweep;

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::error::{ChildFailed, bad_use};
use crate::project::{Extent, Project};
use crate::{say, setup};
use settings::Settings;
use sweep::Sweep;

/// Shown below `cargo xtask eval-fid --help`.
pub const EXAMPLES: &str =
    "Pictures lie in OUT/SETTINGS/samples.npz, scores in metrics.json and metrics.md beside them. The same call
again goes on after an interruption, and does nothing twice.

Examples:
  cargo xtask eval-fid                                 (newest run below runs/, its own held-out pictures)
  cargo xtask eval-fid --run runs/d16 --reference VIRTUAL_imagenet256_labeled.npz -n 50000 \\
      -- --network inception-fid --weights pt_inception-2015-12-05-6726825d.pth
  cargo xtask eval-fid --samples others.npz --reference statistics.npz
  cargo xtask eval-fid --run runs/sweep-emoji-nano -n 1000              (every size; the report then shows them)
  cargo xtask eval-fid --run runs/small --sweep cfg=1.0:4.0:0.5
  cargo xtask eval-fid -- --metrics fd,kid,pr --bootstrap 200

What follows `--` goes to `var-eval score`; see `var-eval score --help`.";

/// Classes of a model that the published settings are for.
const PER_CLASS: u64 = 50;
/// Pictures at least, where the classes are few.
const LEAST: u64 = 5000;
/// The averaged weights of a run.
const AVERAGED: &str = "model-ema.safetensors";
/// The built-in pictures, which are no path.
const EMOJI: &str = "emoji";
/// The signal that nobody can catch.
const KILL: i32 = 9;
/// Pictures of the grid: so many classes, and so many of each.
const GRID: (usize, u64) = (10, 8);

/// What `eval-fid` is told.
#[derive(clap::Args)]
pub struct Options {
    /// Run folder to sample from, or a sweep folder: all of its runs [default: the newest run below runs/]
    #[arg(long, value_name = "DIR")]
    run: Option<PathBuf>,
    /// Sample from the averaged weights of the run (trained with `--set ema=…`)
    #[arg(long, conflicts_with = "samples")]
    ema: bool,
    /// Pictures of anyone, instead of sampling: folder, tar or npz
    #[arg(long, value_name = "PATH", conflicts_with_all = ["run", "sweep", "number"])]
    samples: Option<PathBuf>,
    /// Pictures, statistics or features to compare with [default: the run's own held-out pictures]
    #[arg(long, value_name = "PATH")]
    reference: Option<PathBuf>,
    /// Pictures to sample, rounded up to equally many of each class [default: 50 of each, at least 5000]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    number: Option<u64>,
    /// Guidance at the last scale
    #[arg(long, default_value_t = 1.5)]
    cfg: f64,
    /// Draw among this many codes; 0: all
    #[arg(long, default_value_t = 900)]
    top_k: u64,
    /// Draw among the codes that together reach this probability; 0: all
    #[arg(long, default_value_t = 0.96)]
    top_p: f64,
    /// What logits are divided by
    #[arg(long, default_value_t = 1.0)]
    temperature: f64,
    /// Seed of the pictures
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Pictures sampled at once
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// auto, cpu, cuda or cuda:N
    #[arg(long)]
    device: Option<String>,
    /// auto (measures), f32 or bf16, of sampling
    #[arg(long)]
    precision: Option<String>,
    /// Score several values of cfg, top-k, top-p or temperature and draw the curve
    #[arg(long, value_name = "KEY=FROM:TO:STEP")]
    sweep: Option<Sweep>,
    /// Folder for samples and scores [default: RUN/evaluation; with --samples: evaluation]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Further options of `var-eval score`
    #[arg(last = true, value_name = "SCORE OPTIONS")]
    score: Vec<OsString>,
}

/// Samples, scores, and draws.
pub fn run(project: &Project, options: &Options) -> Result<()> {
    let runs = match (&options.run, &options.samples) {
        (_, Some(_)) => Vec::new(),
        (Some(run), None) => checked(run)?,
        (None, None) => vec![newest(Path::new("runs"))?],
    };
    if runs.len() > 1 && options.out.is_some() {
        return Err(bad_use("--out is for one run; of a sweep folder every run has its scores beside it"));
    }
    if runs.is_empty() && options.reference.is_none() {
        return Err(bad_use("--samples needs --reference: pictures, statistics (.npz) or features (.h5)"));
    }
    if let Some(run) = runs.iter().find(|run| options.ema && !run.join(AVERAGED).is_file()) {
        return Err(bad_use(format!(
            "{} has no averaged weights ({AVERAGED}): it was trained without `--set ema=…`; leave --ema away",
            run.display()
        )));
    }
    // Whatever can be refused is refused before the first picture is sampled.
    for (flag, path) in [("--samples", &options.samples), ("--reference", &options.reference)] {
        if let Some(path) = path.as_ref().filter(|path| *path != Path::new(EMOJI) && !path.exists()) {
            return Err(bad_use(format!("{}: no such file or folder; correct {flag}", path.display())));
        }
    }
    for run in &runs {
        classes(run)?;
        if options.reference.is_none() {
            held_out_of(run)?;
        }
    }
    if options.sweep.is_some() && !measures_distance(&options.score) {
        return Err(bad_use("--sweep draws the curve of the Fréchet distance: put fd among --metrics"));
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
    if let Some(samples) = &options.samples {
        let out = options.out.clone().unwrap_or_else(|| "evaluation".into());
        return tools.score(options, samples, None, &out);
    }
    for run in &runs {
        if runs.len() > 1 {
            say(&format!("eval-fid: {}\n", run.display()));
        }
        tools.evaluate(options, run)?;
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
    fn evaluate(&self, options: &Options, run: &Path) -> Result<()> {
        let out = options.out.clone().unwrap_or_else(|| run.join("evaluation"));
        let plain = Settings {
            cfg: options.cfg,
            top_k: options.top_k as f64,
            top_p: options.top_p,
            temperature: options.temperature,
        };
        let Some(sweep) = &options.sweep else {
            return self.one(options, run, plain, &out).map(|_| ());
        };
        let mut points = Vec::new();
        for value in sweep.values() {
            say(&format!("eval-fid: {} = {value}\n", sweep.key()));
            let folder = self.one(options, run, sweep.applied(plain, value), &out)?;
            points.push((value, sweep::distance(&folder.join("metrics.json"))?));
        }
        let file = sweep.write(&points, run, &out)?;
        start(Command::new(self.scaling).arg("curve").arg(file))
    }

    /// Samples with `settings` and scores; the folder of both.
    fn one(&self, options: &Options, run: &Path, settings: Settings, out: &Path) -> Result<PathBuf> {
        let classes = classes(run)?;
        let number = options.number.unwrap_or_else(|| LEAST.max(PER_CLASS * classes as u64));
        let per_class = number.div_ceil(classes as u64);
        let average = if options.ema { "-ema" } else { "" };
        let name = settings.name(per_class * classes as u64, options.seed);
        let folder = out.join(format!("{name}{average}"));
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("the folder {} cannot be made", folder.display()))?;
        let samples = folder.join("samples.npz");
        let mut sample = self.sampling(options, run, settings, "id:all", per_class);
        if samples.exists() || folder.join("samples.npz.partial").exists() {
            sample.arg("--resume");
        }
        start(sample.arg("--out").arg(&samples))?;
        let grid = folder.join("grid.png");
        if !grid.exists() {
            let shown: Vec<String> = (0..classes.min(GRID.0)).map(|class| format!("id:{class}")).collect();
            let mut sample = self.sampling(options, run, settings, &shown.join(","), GRID.1);
            start(sample.arg("--out").arg(&grid))?;
        }
        self.score(options, &samples, Some(run), &folder)?;
        Ok(folder)
    }

    /// `var-model sample` with all its settings; where to is still to be said.
    fn sampling(
        &self,
        options: &Options,
        run: &Path,
        settings: Settings,
        classes: &str,
        per_class: u64,
    ) -> Command {
        let mut command = Command::new(self.sample);
        command.arg("sample").arg("--run").arg(run);
        command.args(["--classes", classes, "--per-class", &per_class.to_string()]);
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

    /// Scores `samples` into `folder`, against what was asked for or the held-out pictures of `run`.
    fn score(&self, options: &Options, samples: &Path, run: Option<&Path>, folder: &Path) -> Result<()> {
        let mut command = Command::new(self.score);
        command.arg("score").arg("--samples").arg(samples);
        match (&options.reference, run) {
            (Some(reference), _) => command.arg("--reference").arg(reference),
            (None, Some(run)) => {
                command.arg("--reference").arg(held_out_of(run)?).args(["--reference-split", "val"])
            }
            (None, None) => &mut command,
        };
        if let Some(device) = &options.device {
            command.args(["--device", device]);
        }
        // All values of a setting, and all runs of a sweep, share the reference.
        let cache = match run.filter(|_| options.out.is_none()) {
            Some(run) => sweep_of(run).unwrap_or_else(|| run.to_owned()).join("evaluation"),
            None if run.is_some() => folder.parent().unwrap_or(folder).to_owned(),
            None => folder.to_owned(),
        };
        command.arg("--out").arg(folder).arg("--reference-cache").arg(cache);
        start(command.args(&options.score))
    }
}

/// Starts a program and waits for it. It speaks to the person itself, and Ctrl-C reaches it as well; only of a signal
/// that ended it it cannot speak.
fn start(command: &mut Command) -> Result<()> {
    let program = PathBuf::from(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("{} cannot be started", program.display()))?;
    if status.success() {
        return Ok(());
    }
    if let Some(signal) = status.signal() {
        bail!(
            "{name} was ended by signal {signal}{}; the same command goes on where it was",
            if signal == KILL { " (killed: perhaps the memory ran out)" } else { "" }
        );
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(anyhow::Error::new(ChildFailed(code)))
}

/// Whether `var-eval score` with these options gives a Fréchet distance, which it does unless told otherwise.
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

/// Whether `var-eval score` with these options needs the weights that the set-up fetches.
fn uses_default_network(score: &[OsString]) -> bool {
    let options: Vec<String> = score.iter().map(|option| option.to_string_lossy().into_owned()).collect();
    !options.iter().any(|option| {
        ["--network", "--weights"]
            .iter()
            .any(|flag| option == flag || option.starts_with(&format!("{flag}=")))
    })
}

/// The run in `folder`, or the finished runs of the sweep in it; says which of these are left out.
fn checked(folder: &Path) -> Result<Vec<PathBuf>> {
    if is_run(folder) {
        return Ok(vec![folder.to_owned()]);
    }
    let lacking = lacking(folder);
    if lacking.len() < NEEDED.len() {
        return Err(bad_use(format!(
            "{} is a run folder that lacks {}: {}",
            folder.display(),
            lacking.join(" and "),
            if lacking.contains(&"config.toml") || lacking.contains(&"classes.json") {
                "restore the files"
            } else {
                "finish it with `var-train model … --resume`"
            }
        )));
    }
    let mut runs = folders_in(&folder.join("runs"));
    runs.sort();
    let (runs, unfinished): (Vec<PathBuf>, Vec<PathBuf>) = runs.into_iter().partition(|run| is_run(run));
    if runs.is_empty() {
        return Err(bad_use(format!(
            "{} is neither a run folder of a finished `var-train model` (model.safetensors, classes.json) nor a sweep \
             folder with such runs",
            folder.display()
        )));
    }
    for run in unfinished {
        eprintln!("xtask: skips {}: it lacks {}", run.display(), self::lacking(&run).join(" and "));
    }
    for run in missing_runs(folder) {
        eprintln!("xtask: skips {}: results.jsonl names it, but the folder is missing", run.display());
    }
    Ok(runs)
}

/// Folders of runs that the results of the sweep in `folder` name and that are gone.
fn missing_runs(folder: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(folder.join("results.jsonl")).unwrap_or_default();
    let names = text.lines().filter_map(|line| {
        let line: Value = serde_json::from_str(line.trim_start_matches('\u{feff}')).ok()?;
        Some(folder.join(line["run"].as_str()?))
    });
    names.filter(|run| !run.is_dir()).collect()
}

/// The sweep folder that `run` belongs to.
fn sweep_of(run: &Path) -> Option<PathBuf> {
    let run = run.canonicalize().ok()?;
    let sweep = run.parent().filter(|runs| runs.ends_with("runs"))?.parent()?;
    sweep.join("results.jsonl").is_file().then(|| sweep.to_owned())
}

fn folders_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
}

/// The files of a run that is finished.
const NEEDED: [&str; 3] = ["config.toml", "classes.json", "model.safetensors"];

/// Which of them a folder does not have.
fn lacking(folder: &Path) -> Vec<&'static str> {
    NEEDED.into_iter().filter(|name| !folder.join(name).is_file()).collect()
}

fn is_run(folder: &Path) -> bool {
    lacking(folder).is_empty()
}

/// The run that was finished last, in `folder` or in a sweep's `runs/` below it.
fn newest(folder: &Path) -> Result<PathBuf> {
    let mut found = folders_in(folder);
    found.extend(found.clone().iter().flat_map(|sweep| folders_in(&sweep.join("runs"))));
    let finished = found.into_iter().filter(|path| is_run(path)).filter_map(|path| {
        let time = path.join("model.safetensors").metadata().and_then(|data| data.modified()).ok()?;
        Some((time, path))
    });
    let newest = finished.max().map(|(_, path)| path);
    newest.ok_or_else(|| {
        bad_use(format!(
            "there is no finished run below {}: train one (`cargo xtask sweep`), name one (--run), or score \
             pictures (--samples)",
            folder.display()
        ))
    })
}

/// The token file of a run, which stands for the pictures that it was made of.
fn held_out_of(run: &Path) -> Result<PathBuf> {
    let path = run.join("config.toml");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let text = text.trim_start_matches('\u{feff}');
    let line = text.lines().find_map(|line| line.strip_prefix("data = "));
    let data = line.map(|value| PathBuf::from(value.trim().trim_matches(['"', '\''])));
    match data {
        Some(data) if data.is_file() => Ok(data),
        data => Err(bad_use(format!(
            "the token file that {} names is not there{}, and with it which pictures were held out; name a --reference",
            path.display(),
            data.map(|data| format!(" ({})", data.display())).unwrap_or_default()
        ))),
    }
}

/// Number of classes of a run's model.
fn classes(run: &Path) -> Result<usize> {
    let path = run.join("classes.json");
    let text = std::fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let names: Option<usize> =
        serde_json::from_slice::<Value>(&text).ok().and_then(|names| names.as_array().map(Vec::len));
    match names {
        Some(count @ 1..) => Ok(count),
        _ => Err(bad_use(format!("{} is no list of class names", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_named_after_what_was_sampled() {
        let published = Settings { cfg: 1.5, top_k: 900.0, top_p: 0.96, temperature: 1.0 };
        assert_eq!(published.name(50_000, 0), "cfg1.5-k900-p0.96-n50000-s0");
        assert_eq!(Settings { temperature: 0.9, ..published }.name(10, 3), "cfg1.5-k900-p0.96-t0.9-n10-s3");
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
