//! Tries the archive: unpacked, moved, and without any variable of this environment.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::project::{Extent, Project};

/// Effort of a compression that is thrown away.
const QUICK: i32 = 1;

/// What is run in the moved folder, and the file that it must leave, if any.
const CALLS: [(&str, Option<&str>); 5] = [
    ("var-model sample --out grid.png --quiet", Some("grid.png")),
    ("var-tokenizer encode --data emoji --limit 60 --out tokens.h5 --quiet", Some("tokens.h5")),
    (
        "var-train model --tokens tokens.h5 --tokenizer builtin --preset nano --depth 1 --width 32 --heads 1 \
         --set steps=20 --set batch=8 --out run --quiet",
        Some("run/model.safetensors"),
    ),
    ("var-scaling sweep --dry-run", None),
    ("var-model check-device --device cpu --json device.json", Some("device.json")),
];

/// Packs the archive and tries it; prints what it did. True if all of it worked.
pub fn check(project: &Project, extent: Extent) -> Result<bool> {
    let place = project.scratch("archive")?;
    let outcome = tried(project, extent, &place);
    let _ = std::fs::remove_dir_all(&place);
    outcome.map(|()| true)
}

fn tried(project: &Project, extent: Extent, place: &Path) -> Result<()> {
    let archive = super::pack(project, extent, false, place, QUICK)?;
    let (first, moved) = (place.join("unpacked"), place.join("moved here"));
    let file = File::open(&archive).with_context(|| format!("cannot open {}", archive.display()))?;
    tar::Archive::new(zstd::Decoder::new(file)?).unpack(&first).context("cannot unpack the archive")?;
    let mut folders = std::fs::read_dir(&first)?.flatten().map(|entry| entry.path());
    let folder = folders.next().context("the archive is empty")?;
    std::fs::rename(&folder, &moved).context("cannot move the unpacked archive")?;
    for (call, left) in CALLS {
        let mut words = call.split_whitespace();
        let Some(program) = words.next() else { continue };
        eprintln!("xtask: {call}");
        let status = Command::new(moved.join("bin").join(program))
            .args(words)
            .current_dir(place)
            .env_clear()
            .stdout(Stdio::null())
            .status()
            .with_context(|| format!("cannot start {program} of the archive"))?;
        if !status.success() {
            bail!("{call} failed in the archive: {status}");
        }
        if let Some(left) = left.filter(|left| !place.join(left).is_file()) {
            bail!("{call} left no {left}");
        }
    }
    Ok(())
}
