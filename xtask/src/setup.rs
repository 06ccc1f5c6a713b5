//! `cargo xtask setup`: installs what the other crates need to build, without administrator rights.
//!
//! Two parts are required: libtorch, linked as `.libtorch`, and a cmake for HDF5, linked as `.cmake/cmake`. The `[env]`
//! table of `.cargo/config.toml` gives both to cargo. Downloads are kept in a cache per user, so a second clone only makes
//! the links. LIBTORCH, LIBTORCH_USE_PYTORCH and CMAKE override the parts. After an interruption, the next call resumes.
//!
//! Three parts are optional: the weights of the default feature network of `var-eval` and of the perceptual losses of
//! `var-train`, linked in `.features`; and the NCCL library of `var-train`, built in `.nccl`. VAR_FEATURES and VAR_NCCL
//! override them.

mod cache;
mod cmake;
mod features;
mod kit;
mod libtorch;
mod nccl;
mod pip;
mod progress;
mod tools;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::project::{Extent, Project};
use crate::say;
use cache::Cache;
use kit::Kit;

/// Shown below `cargo xtask setup --help`.
pub const EXAMPLES: &str =
    "The cache is $XDG_CACHE_HOME/var-rs, or ~/.cache/var-rs. It needs about 1.2 GB during the set-up
and 0.5 GB after it (--features: 88 MB more; --cuda: 6 MB more, after a download of 200 MB).
These variables replace a download:
  LIBTORCH=DIR             your libtorch 2.11.0
  LIBTORCH_USE_PYTORCH=1   the libtorch of python3's torch 2.11.0
  CMAKE=PROGRAM            your cmake, 3.26 or newer
  VAR_FEATURES=DIR         your folder with efficientnet_lite0.pth and st_lpips_*.pth
  VAR_NCCL=FILE            your libvar_nccl.so

Examples:
  cargo xtask setup
  cargo xtask setup --features
  cargo xtask setup --cuda
  cargo xtask setup --inception --reference imagenet-256      for FID as published
  cargo xtask setup --check
  XDG_CACHE_HOME=/big/disk cargo xtask setup";

/// The state of a part.
enum State {
    /// Usable; the text says which one.
    Ready(String),
    /// Not usable yet; the text says why.
    Missing(String),
}

/// A part of the set-up.
trait Part {
    /// Name for messages.
    fn name(&self) -> &'static str;
    /// Its flag; empty for a required part.
    fn flag(&self) -> &'static str {
        ""
    }
    /// Its state in this clone.
    ///
    /// # Errors
    /// When a variable of the user is unusable (bad use).
    fn state(&self, project: &Project) -> Result<State>;
    /// The folder to link, if it needs no download.
    fn at_hand(&self, cache: &Cache) -> Option<PathBuf>;
    /// The download.
    fn kit(&self) -> &'static Kit;
    /// Links what [`Part::at_hand`] found into the clone.
    fn link(&self, project: &Project, target: &Path) -> Result<()>;
}

/// The parts that every build needs.
const NEEDED: [&dyn Part; 2] = [&libtorch::Libtorch, &cmake::Cmake];

/// The parts on demand.
const OPTIONAL: [&dyn Part; 3] = [&features::FEATURES, &features::PERCEPTUAL, &nccl::Nccl];

/// The published references that `var-eval fetch` knows; not paths.
pub const REFERENCES: [&str; 2] = ["imagenet-256", "imagenet-512"];

/// Optional parts.
#[derive(clap::Args, Clone)]
pub struct Extras {
    /// Also fetch weights: of the feature network for Fréchet distances (17 MB), and of the perceptual losses (64 MB)
    #[arg(long)]
    features: bool,
    /// Also build the library for training on several GPUs: fetches headers (200 MB); needs no nvcc and no GPU
    #[arg(long)]
    cuda: bool,
    /// Also fetch Inception's weights for FID (96 MB), from where pytorch-fid publishes them; builds var-eval for that
    #[arg(long, conflicts_with = "check")]
    inception: bool,
    /// Also fetch ADM's reference batch: imagenet-256 (2 GB) or imagenet-512; builds var-eval for that
    #[arg(long, value_name = "NAME", conflicts_with = "check", value_parser = REFERENCES)]
    reference: Vec<String>,
}

impl Extras {
    fn parts(&self) -> Vec<&'static dyn Part> {
        let asked = [self.features, self.features, self.cuda];
        OPTIONAL.into_iter().zip(asked).filter(|(_, asked)| *asked).map(|(part, _)| part).collect()
    }

    /// The files that `var-eval fetch` brings.
    fn published(&self) -> impl Iterator<Item = &str> {
        self.inception.then_some("inception").into_iter().chain(self.reference.iter().map(String::as_str))
    }
}

/// `cargo xtask setup`: installs the missing parts and `extras`, and prints what is used.
pub fn run(project: &Project, extras: &Extras) -> Result<ExitCode> {
    ensure(project)?;
    bring(project, &extras.parts())?;
    for part in NEEDED.into_iter().chain(extras.parts()) {
        if let State::Ready(which) = part.state(project)? {
            say(&format!("{}: {which}\n", part.name()));
        }
    }
    if extras.published().next().is_some() {
        let programs = project.build(Extent::Programs)?;
        let mut fetch = Command::new(&programs["var-eval"]);
        let status = fetch.arg("fetch").args(extras.published()).status().context("cannot start var-eval")?;
        if !status.success() {
            // It has said why.
            return Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
        }
    }
    say("The set-up is complete. You can run `cargo build --release` and `cargo test --release`.\n");
    Ok(ExitCode::SUCCESS)
}

/// `cargo xtask setup --check`: prints a line per part and tool. Exit status 1 if a required one, or one of `extras`, is
/// missing.
pub fn check(project: &Project, extras: &Extras) -> Result<ExitCode> {
    let mut complete = true;
    let mut line = |fine: bool, name: &str, text: &str| {
        say(&format!("{:<8} {name:<14} {text}\n", if fine { "ok" } else { "missing" }));
        complete &= fine;
    };
    for tool in tools::TOOLS {
        match tool.find() {
            Some(program) => line(true, tool.name, &program),
            None => line(false, tool.name, tool.advice),
        }
    }
    let mut fetch = false;
    let mut missing = |part: &dyn Part, why: &str, command: &str, needed: bool| {
        let at_hand = Cache::find().ok().and_then(|cache| part.at_hand(&cache));
        let action = if at_hand.is_some() { "links" } else { "fetches" };
        fetch |= needed && at_hand.is_none();
        format!("{why}: `{command}` {action} it")
    };
    for part in NEEDED {
        match part.state(project)? {
            State::Ready(which) => line(true, part.name(), &which),
            State::Missing(why) => {
                line(false, part.name(), &missing(part, &why, "cargo xtask setup", true));
            }
        }
    }
    for part in OPTIONAL {
        let wanted = extras.parts().iter().any(|extra| extra.name() == part.name());
        let command = format!("cargo xtask setup {}", part.flag());
        let text = match part.state(project) {
            Ok(State::Ready(which)) => {
                line(true, part.name(), &which);
                continue;
            }
            Ok(State::Missing(why)) => missing(part, &why, &command, wanted),
            Err(error) if wanted => return Err(error),
            Err(error) => format!("{error:#}"),
        };
        if wanted {
            line(false, part.name(), &text);
        } else {
            say(&format!("{:<8} {:<14} {text}\n", "optional", part.name()));
        }
    }
    if fetch {
        match pip::Pip::find() {
            Ok(pip) => line(true, "pip", &pip.to_string()),
            Err(error) => line(false, "pip", &format!("{error:#}")),
        }
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Installs the required parts. Silent and quick if they are installed.
pub fn ensure(project: &Project) -> Result<()> {
    if let Some(tool) = tools::TOOLS.iter().find(|tool| tool.find().is_none()) {
        bail!("no {} found: {}", tool.name, tool.advice);
    }
    bring(project, &NEEDED)
}

/// Installs the weights of the default feature network of `var-eval`. Silent and quick if they are installed. Needs no
/// compiler.
///
/// # Errors
/// When VAR_FEATURES lacks them (bad use), or the download fails.
pub fn ensure_features(project: &Project) -> Result<()> {
    bring(project, &[&features::FEATURES])
}

/// Builds the NCCL library if it is missing.
///
/// # Errors
/// When VAR_NCCL names none (bad use), the download fails, or the compiler does.
pub fn ensure_nccl(project: &Project) -> Result<()> {
    bring(project, &[&nccl::Nccl])
}

pub use libtorch::folder as libtorch_folder;
pub use nccl::library as nccl_library;

/// Links or fetches those of `parts` that are missing.
fn bring(project: &Project, parts: &[&'static dyn Part]) -> Result<()> {
    if missing(project, parts)?.is_empty() {
        return Ok(());
    }
    let cache = Cache::find()?;
    link(project, &cache, parts)?;
    if missing(project, parts)?.is_empty() {
        return Ok(());
    }
    let _lock = cache.lock()?;
    // Another set-up may have installed it in the meantime.
    link(project, &cache, parts)?;
    let missing_now = missing(project, parts)?;
    if missing_now.is_empty() {
        return Ok(());
    }
    missing_now.iter().try_for_each(|part| part.kit().supported())?;
    cache.tidy()?;
    let pip = pip::Pip::find()?;
    let needed: u64 = missing_now.iter().map(|part| part.kit().room(&cache)).sum();
    cache.require_room(needed)?;
    for part in &missing_now {
        part.kit().bring(&cache, &pip)?;
    }
    link(project, &cache, parts)?;
    match missing(project, parts)?.first() {
        None => Ok(()),
        Some(part) => {
            bail!("{} is still missing after the set-up; run `cargo xtask setup --check`", part.name())
        }
    }
}

/// Those of `parts` that are not usable yet.
fn missing(project: &Project, parts: &[&'static dyn Part]) -> Result<Vec<&'static dyn Part>> {
    let mut missing = Vec::new();
    for &part in parts {
        if let State::Missing(_) = part.state(project)? {
            missing.push(part);
        }
    }
    Ok(missing)
}

/// Links those of `parts` that are missing and at hand.
fn link(project: &Project, cache: &Cache, parts: &[&'static dyn Part]) -> Result<()> {
    for part in missing(project, parts)? {
        if let Some(target) = part.at_hand(cache) {
            part.link(project, &target)?;
        }
    }
    Ok(())
}
