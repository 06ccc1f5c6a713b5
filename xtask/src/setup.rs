//! `cargo xtask setup`: what the other crates need to build, brought without administrator's rights.
//!
//! Two parts: libtorch, linked as `.libtorch`, and a cmake for HDF5, linked as `.cmake/cmake`; the
//! `[env]` table of `.cargo/config.toml` leads plain cargo calls to both. What has to be fetched is kept
//! in a per-user cache, so that the second clone only makes the links. LIBTORCH, LIBTORCH_USE_PYTORCH
//! and CMAKE of the person win. Every step can be interrupted and is made good by the next call.

mod cache;
mod cmake;
mod kit;
mod libtorch;
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
and 0.5 GB afterwards. These win over it, and nothing is fetched for them:
  LIBTORCH=DIR             a libtorch 2.11.0 of your own
  LIBTORCH_USE_PYTORCH=1   the libtorch of python3's torch 2.11.0
  CMAKE=PROGRAM            a cmake of your own, 3.26 or newer

Examples:
  cargo xtask setup
  cargo xtask setup --check
  XDG_CACHE_HOME=/big/disk cargo xtask setup";

/// How a part stands.
enum State {
    /// Usable as it is; says which one.
    Ready(String),
    /// Not usable yet; says why.
    Missing(String),
}

/// Something that has to be there before cargo can build the workspace.
trait Part {
    /// Name for messages.
    fn name(&self) -> &'static str;
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

const PARTS: [&dyn Part; 2] = [&libtorch::Libtorch, &cmake::Cmake];

/// `cargo xtask setup`: brings what is missing and says what is used.
pub fn run(project: &Project) -> Result<ExitCode> {
    ensure(project)?;
    for part in PARTS {
        if let State::Ready(which) = part.state(project)? {
            say(&format!("{}: {which}\n", part.name()));
        }
    }
    say("The set-up is complete: `cargo build --release` and `cargo test --release` work now.\n");
    Ok(ExitCode::SUCCESS)
}

/// `cargo xtask setup --check`: a line for each thing needed; exit status 1 when one is missing.
pub fn check(project: &Project) -> Result<ExitCode> {
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
    for part in PARTS {
        match part.state(project)? {
            State::Ready(which) => line(true, part.name(), &which),
            State::Missing(why) => {
                let at_hand = Cache::find().ok().and_then(|cache| part.at_hand(&cache));
                let action = if at_hand.is_some() { "links" } else { "fetches" };
                fetch |= at_hand.is_none();
                line(false, part.name(), &format!("{why}: `cargo xtask setup` {action} it"));
            }
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

/// Brings what is missing; silent and quick when nothing is.
pub fn ensure(project: &Project) -> Result<()> {
    if let Some(tool) = tools::TOOLS.iter().find(|tool| tool.find().is_none()) {
        bail!("there is no {}: {}", tool.name, tool.advice);
    }
    if missing(project)?.is_empty() {
        return Ok(());
    }
    let cache = Cache::find()?;
    link(project, &cache)?;
    if missing(project)?.is_empty() {
        return Ok(());
    }
    let _lock = cache.lock()?;
    // Another set-up may have brought it while this one waited.
    link(project, &cache)?;
    let missing_now = missing(project)?;
    if missing_now.is_empty() {
        return Ok(());
    }
    kit::supported()?;
    cache.tidy()?;
    let pip = pip::Pip::find()?;
    let needed: u64 = missing_now.iter().map(|part| part.kit().room(&cache)).sum();
    cache.require_room(needed)?;
    for part in &missing_now {
        part.kit().bring(&cache, &pip)?;
    }
    link(project, &cache)?;
    match missing(project)?.first() {
        None => Ok(()),
        Some(part) => {
            bail!("{} is still missing after the set-up: see `cargo xtask setup --check`", part.name())
        }
    }
}

/// The parts that are not usable yet.
fn missing(project: &Project) -> Result<Vec<&'static dyn Part>> {
    let mut missing = Vec::new();
    for part in PARTS {
        if let State::Missing(_) = part.state(project)? {
            missing.push(part);
        }
    }
    Ok(missing)
}

/// Links the missing parts that are at hand.
fn link(project: &Project, cache: &Cache) -> Result<()> {
    for part in missing(project)? {
        if let Some(target) = part.at_hand(cache) {
            part.link(project, &target)?;
        }
    }
    Ok(())
}
