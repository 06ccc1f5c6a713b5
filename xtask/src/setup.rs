//! `cargo xtask setup`: what the other crates need to build, brought without administrator's rights.
//!
//! Two parts: libtorch, linked as `.libtorch`, and a cmake for HDF5, linked as `.cmake/cmake`; the
//! `[env]` table of `.cargo/config.toml` leads plain cargo calls to both. What has to be fetched is kept
//! in a per-user cache, so that the second clone only makes the links. LIBTORCH, LIBTORCH_USE_PYTORCH
//! and CMAKE of the person win. Every step can be interrupted and is made good by the next call.
//!
//! Two more are optional: the weights of the feature network that `var-eval` takes by default, linked below
//! `.features`; and the library through which `var-train` speaks NCCL, built below `.nccl`. VAR_FEATURES and VAR_NCCL
//! of the person win.

mod cache;
mod cmake;
mod features;
mod kit;
mod libtorch;
/// As the other programs lock; this one depends on no crate of the workspace.
#[path = "../../var-tokenizer/src/runtime/locks.rs"]
mod locks;
mod nccl;
mod pip;
mod progress;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::project::Project;
use crate::say;
use cache::Cache;
use kit::Kit;

/// Shown below `cargo xtask setup --help`.
pub const EXAMPLES: &str =
    "The cache is $XDG_CACHE_HOME/var-rs, or ~/.cache/var-rs; it takes about 1.2 GB while it is filled
and 0.5 GB afterwards (--features: 19 MB more; --cuda: 6 MB more, after 200 MB were fetched). These win over it, and nothing is fetched for them:
  LIBTORCH=DIR             a libtorch 2.11.0 of your own
  LIBTORCH_USE_PYTORCH=1   the libtorch of python3's torch 2.11.0
  CMAKE=PROGRAM            a cmake of your own, 3.26 or newer
  VAR_FEATURES=DIR         a folder of yours that holds efficientnet_lite0.pth
  VAR_NCCL=FILE            a libvar_nccl.so of your own

Examples:
  cargo xtask setup
  cargo xtask setup --features
  cargo xtask setup --cuda
  cargo xtask setup --check
  XDG_CACHE_HOME=/big/disk cargo xtask setup";

/// How a part stands.
enum State {
    /// Usable as it is; says which one.
    Ready(String),
    /// Not usable yet; says why.
    Missing(String),
}

/// Something that a clone is set up with.
trait Part {
    /// Name for messages.
    fn name(&self) -> &'static str;
    /// The flag that asks for it; empty for what is always needed.
    fn flag(&self) -> &'static str {
        ""
    }
    /// How it stands in this clone.
    ///
    /// # Errors
    /// A setting of the person that cannot be used: bad use.
    fn state(&self, project: &Project) -> Result<State>;
    /// What can be linked at once, without fetching anything.
    fn at_hand(&self, cache: &Cache) -> Option<PathBuf>;
    /// What is fetched where nothing is at hand.
    fn kit(&self) -> &'static Kit;
    /// Links what [`Part::at_hand`] found into the clone.
    fn link(&self, project: &Project, target: &Path) -> Result<()>;
}

/// What has to be there before cargo can build the workspace.
const NEEDED: [&dyn Part; 2] = [&libtorch::Libtorch, &cmake::Cmake];

/// What is brought on demand.
const OPTIONAL: [&dyn Part; 2] = [&features::Features, &nccl::Nccl];

/// What is wanted beside the parts that every build needs.
#[derive(clap::Args, Clone, Copy)]
pub struct Extras {
    /// The weights of the feature network that distances between sets of pictures are computed with by
    /// default, too (17 MB)
    #[arg(long)]
    features: bool,
    /// The library that training on several GPUs needs, too: fetches headers (200 MB) and compiles it; needs no
    /// nvcc and no GPU
    #[arg(long)]
    cuda: bool,
}

impl Extras {
    fn parts(self) -> Vec<&'static dyn Part> {
        let asked = [self.features, self.cuda];
        OPTIONAL.into_iter().zip(asked).filter(|(_, asked)| *asked).map(|(part, _)| part).collect()
    }
}

/// `cargo xtask setup`: brings what is missing, and what else is wanted, and says what is used.
pub fn run(project: &Project, extras: Extras) -> Result<ExitCode> {
    ensure(project)?;
    bring(project, &extras.parts())?;
    for part in NEEDED.into_iter().chain(extras.parts()) {
        if let State::Ready(which) = part.state(project)? {
            say(&format!("{}: {which}\n", part.name()));
        }
    }
    say("The set-up is complete: `cargo build --release` and `cargo test --release` work now.\n");
    Ok(ExitCode::SUCCESS)
}

/// `cargo xtask setup --check`: a line for each part and tool; exit status 1 when one is missing that is needed.
/// `extras` are then needed too.
pub fn check(project: &Project, extras: Extras) -> Result<ExitCode> {
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

/// Brings what a build needs; silent and quick when it is there.
pub fn ensure(project: &Project) -> Result<()> {
    if let Some(tool) = tools::TOOLS.iter().find(|tool| tool.find().is_none()) {
        bail!("there is no {}: {}", tool.name, tool.advice);
    }
    bring(project, &NEEDED)
}

/// Brings the weights of the feature network that `var-eval` takes by default; silent and quick when they are
/// there. Needs no compiler.
///
/// # Errors
/// A VAR_FEATURES without them: bad use. Else what keeps them from being fetched.
pub fn ensure_features(project: &Project) -> Result<()> {
    bring(project, &[&features::Features])
}

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
    // Another set-up may have brought it while this one waited.
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
            bail!("{} is still missing after the set-up: see `cargo xtask setup --check`", part.name())
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
