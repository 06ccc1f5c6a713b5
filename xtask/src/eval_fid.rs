//! `cargo xtask eval-fid`: samples from a run with the published settings, scores them, draws a grid.
//!
//! It only starts programs: `var-model sample` makes the pictures, `var-eval score` the numbers, `var-eval
//! sweep-plot` the curve. Each goes on where it was stopped, so the same command again takes up what is there.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::error::bad_use;
use crate::project::{Extent, Project};
use crate::setup;

/// Shown below `cargo xtask eval-fid --help`.
pub const EXAMPLES: &str = "Without --run it takes the newest run below runs/, without --reference the pictures that this run held out.
Everything lies below --out [default: RUN/eval]; the same command again goes on with what is there.

Examples:
  cargo xtask eval-fid -n 1000
  cargo xtask eval-fid --run runs/d16 --reference imagenet/ -n 50000
  cargo xtask eval-fid --samples samples.npz --reference val/ --out scores
  cargo xtask eval-fid --run runs/small -n 1000 --sweep cfg=1.0:4.0:0.5
  cargo xtask eval-fid -n 1000 -- --network inception-fid --weights pt_inception.pth";

/// Most values of a sweep.
const MOST_VALUES: usize = 100;

/// What is scored, and against what.
#[derive(Args)]
pub struct EvalFid {
    /// Run folder of `var-train model` [default: the newest below runs/]
    #[arg(long, value_name = "DIR", conflicts_with = "samples")]
    run: Option<PathBuf>,
    /// Score these pictures instead of sampling
    #[arg(long, value_name = "PATH", conflicts_with = "sweep", requires = "reference")]
    samples: Option<PathBuf>,
    /// What to compare with [default: the pictures that the run held out]
    #[arg(long, value_name = "PATH")]
    reference: Option<PathBuf>,
    /// Pictures to sample, shared evenly among the classes
    #[arg(short, default_value_t = 50_000, value_name = "N")]
    n: usize,
    /// One score for each value of a setting of the sampler: NAME=FIRST:LAST:STEP with cfg, top-k, top-p or
    /// temperature
    #[arg(long, value_name = "SWEEP")]
    sweep: Option<String>,
    /// Folder for samples, features, metrics.json, metrics.md and pictures
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// More flags for `var-eval score`
    #[arg(last = true, value_name = "FLAGS")]
    more: Vec<String>,
}

/// A setting of the sampler and the values it takes.
#[derive(Debug, PartialEq)]
struct Sweep {
    setting: String,
    values: Vec<String>,
}

/// Does all of it; the exit status is that of the program that failed.
pub fn run(project: &Project, asked: &EvalFid) -> Result<ExitCode> {
    let sweep = asked.sweep.as_deref().map(parse_sweep).transpose()?;
    let run = match (&asked.run, &asked.samples) {
        (Some(run), _) => Some(run.clone()),
        (None, Some(_)) => None,
        (None, None) => Some(newest(Path::new("runs"))?),
    };
    let reference = match (&asked.reference, &run) {
        (Some(reference), _) => vec![reference.as_os_str().to_owned()],
        (None, Some(run)) => vec![held_out_of(run)?.into(), "--reference-split".into(), "val".into()],
        (None, None) => return Err(bad_use("give --reference: what to compare with")),
    };
    let default = run.as_ref().map_or_else(|| PathBuf::from("eval"), |run| run.join("eval"));
    let out = asked.out.clone().unwrap_or(default);
    setup::ensure(project)?;
    let programs = project.build(Extent::Programs)?;
    let (model, eval) = (&programs["var-model"], &programs["var-eval"]);
    let score = |samples: &Path, out: &Path| -> Result<Option<ExitCode>> {
        let mut command = Command::new(eval);
        command.arg("score").arg("--samples").arg(samples).arg("--reference").args(&reference);
        finish(command.arg("--out").arg(out).args(&asked.more))
    };
    let Some(run) = run else {
        let samples = asked.samples.as_deref().unwrap_or(Path::new("."));
        return Ok(score(samples, &out)?.unwrap_or(ExitCode::SUCCESS));
    };
    let per_class = asked.n.div_ceil(classes_of(&run)?).max(1);
    let sweep = sweep.unwrap_or(Sweep { setting: String::new(), values: vec![String::new()] });
    let mut places = Vec::new();
    for value in &sweep.values {
        let place =
            if value.is_empty() { out.clone() } else { out.join(format!("{}-{value}", sweep.setting)) };
        std::fs::create_dir_all(&place).with_context(|| format!("{} cannot be made", place.display()))?;
        places.push(place.clone());
        if !value.is_empty() && place.join("metrics.json").is_file() {
            eprintln!("xtask: {} = {value} is done: {}", sweep.setting, place.display());
            continue;
        }
        let samples = place.join("samples.npz");
        let flags = |command: &mut Command, per_class: usize| {
            command
                .args(["sample", "--classes", "all", "--per-class", &per_class.to_string(), "--run"])
                .arg(&run);
            if !value.is_empty() {
                command.arg(format!("--{}", sweep.setting)).arg(value);
            }
        };
        if !samples.exists() {
            let mut command = Command::new(model);
            flags(&mut command, per_class);
            command.arg("--out").arg(&samples);
            if place.join("samples.npz.partial").exists() {
                command.arg("--resume");
            }
            if let Some(code) = finish(&mut command)? {
                return Ok(code);
            }
        }
        let grid = place.join("grid.png");
        if !grid.exists() && classes_of(&run)? <= 100 {
            let mut command = Command::new(model);
            flags(&mut command, per_class.min(8));
            if let Some(code) = finish(command.arg("--out").arg(&grid))? {
                return Ok(code);
            }
        }
        if let Some(code) = score(&samples, &place)? {
            return Ok(code);
        }
    }
    if !sweep.setting.is_empty() {
        let plot = out.join(format!("{}.svg", sweep.setting));
        let mut command = Command::new(eval);
        command
            .args(["sweep-plot", "--setting", &sweep.setting.replace('-', "_"), "--out"])
            .arg(&plot)
            .args(&places);
        if let Some(code) = finish(&mut command)? {
            return Ok(code);
        }
    }
    eprintln!("xtask: all of it lies in {}", out.display());
    Ok(ExitCode::SUCCESS)
}

/// Runs a program to its end; its exit status where that is not 0.
fn finish(command: &mut Command) -> Result<Option<ExitCode>> {
    let status =
        command.status().with_context(|| format!("{:?} cannot be started", command.get_program()))?;
    if status.success() {
        return Ok(None);
    }
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(Some(ExitCode::from(code)))
}

/// `NAME=FIRST:LAST:STEP`.
fn parse_sweep(text: &str) -> Result<Sweep> {
    let wrong = || bad_use(format!("--sweep {text}: expected NAME=FIRST:LAST:STEP, e.g. cfg=1.0:4.0:0.5"));
    let (setting, range) = text.split_once('=').ok_or_else(wrong)?;
    let known = ["cfg", "top-k", "top-p", "temperature"];
    if !known.contains(&setting) {
        return Err(bad_use(format!("--sweep {setting}: there are {}", known.join(", "))));
    }
    let numbers: Vec<f64> = range.split(':').filter_map(|part| part.trim().parse().ok()).collect();
    let &[first, last, step] = numbers.as_slice() else { return Err(wrong()) };
    let count = ((last - first) / step + 1e-9).floor() + 1.0;
    if range.split(':').count() != 3 || !(1.0..=MOST_VALUES as f64).contains(&count) || step <= 0.0 {
        return Err(bad_use(format!("--sweep {text}: 1 to {MOST_VALUES} values, rising")));
    }
    // Steps of tenths are not exact: nine digits are more than anybody means.
    let value = |i: usize| format!("{}", ((first + i as f64 * step) * 1e9).round() / 1e9);
    Ok(Sweep { setting: setting.to_owned(), values: (0..count as usize).map(value).collect() })
}

/// The newest finished run of a transformer below `folder`, at any depth up to three.
fn newest(folder: &Path) -> Result<PathBuf> {
    let mut found: Vec<(SystemTime, PathBuf)> = Vec::new();
    collect(folder, 3, &mut found);
    match found.into_iter().max() {
        Some((_, run)) => {
            eprintln!("xtask: the newest run is {}", run.display());
            Ok(run)
        }
        None => Err(bad_use(format!(
            "no finished run of a model below {}: train one (cargo xtask sweep), or name one with --run",
            folder.display()
        ))),
    }
}

fn collect(folder: &Path, depth: usize, found: &mut Vec<(SystemTime, PathBuf)>) {
    let model = folder.join("model.safetensors");
    if folder.join("config.toml").is_file() {
        if let Ok(time) = model.metadata().and_then(|m| m.modified()) {
            found.push((time, folder.to_owned()));
        }
        return;
    }
    if depth == 0 {
        return;
    }
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            collect(&entry.path(), depth - 1, found);
        }
    }
}

/// Number of classes of a run.
fn classes_of(run: &Path) -> Result<usize> {
    let path = run.join("classes.json");
    let text = std::fs::read(&path)
        .map_err(|e| bad_use(format!("{}: {e}; name a run folder of `var-train model`", path.display())))?;
    let names: Vec<String> = serde_json::from_slice(&text)
        .with_context(|| format!("{} holds no list of names", path.display()))?;
    if names.is_empty() {
        bail!("{} names no class", path.display());
    }
    Ok(names.len())
}

/// The token file of a run: `var-eval score --reference` takes its pictures.
fn held_out_of(run: &Path) -> Result<PathBuf> {
    let path = run.join("config.toml");
    let text = std::fs::read_to_string(&path).map_err(|e| bad_use(format!("{}: {e}", path.display())))?;
    let line = text.lines().find_map(|line| line.strip_prefix("data = "));
    let data = line.map(|value| value.trim().trim_matches(['"', '\'']).to_owned());
    data.map(PathBuf::from).ok_or_else(|| {
        bad_use(format!("{} does not say which data it was trained on; give --reference", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sweep_names_its_values_and_what_is_wrong_with_it() {
        let sweep = parse_sweep("cfg=1.0:4.0:0.5").unwrap();
        assert_eq!(sweep.values, ["1", "1.5", "2", "2.5", "3", "3.5", "4"]);
        assert_eq!(parse_sweep("top-p=0.7:0.9:0.1").unwrap().values, ["0.7", "0.8", "0.9"]);
        for text in [
            "cfg",
            "cfg=1",
            "cfg=1:2",
            "cfg=2:1:0.5",
            "cfg=1:2:0",
            "cfg=1:2:x",
            "depth=1:2:1",
            "cfg=0:1:1e-9",
        ] {
            assert!(parse_sweep(text).is_err(), "{text}");
        }
    }
}
