//! Signs of earlier work. If one of its files is missing, a sweep says so and does not start again.

use std::path::Path;

use var_tokenizer::images::is_image_name;

use crate::error::{Error, Remedy, Result};

/// Whether a folder has any entry; a missing folder has none.
pub(crate) fn any_entry(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

/// Whether a training has saved a checkpoint in its folder.
pub(crate) fn has_checkpoint(run: &Path) -> bool {
    any_entry(&run.join("checkpoints"))
}

/// Refuses a folder whose `sweep.json` is missing.
///
/// # Errors
/// When the folder has other files of a sweep.
pub(crate) fn without_record(folder: &Path) -> Result<()> {
    let mut found = Vec::new();
    for file in ["results.jsonl", "tokens.h5"] {
        if folder.join(file).metadata().is_ok_and(|data| data.len() > 0) {
            found.push(file.to_owned());
        }
    }
    if any_entry(&folder.join("tokenizer")) {
        found.push("tokenizer/".into());
    }
    let runs = std::fs::read_dir(folder.join("runs")).into_iter().flatten().flatten();
    let mut runs: Vec<String> =
        runs.filter(|e| any_entry(&e.path())).map(|e| format!("runs/{}", e.file_name().display())).collect();
    runs.sort();
    found.extend(runs);
    if found.is_empty() {
        return Ok(());
    }
    Err(Error::cannot_resume(
        folder.join("sweep.json"),
        format!("missing, but the folder has an earlier sweep ({}). Put it back to resume", found.join(", ")),
        Remedy::NewSweep,
    ))
}

/// Renames a file or folder that starts over: `runs/3x96` becomes `runs/3x96.old-1`. Returns the new name.
///
/// # Errors
/// When the file cannot be written.
pub(crate) fn set_aside(path: &Path) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let name = path.file_name().unwrap_or_default().display().to_string();
    let free = (1..).map(|i| path.with_file_name(format!("{name}.old-{i}"))).find(|p| !p.exists());
    let Some(free) = free else { return Ok(None) };
    std::fs::rename(path, &free).map_err(|e| Error::io(path, e))?;
    Ok(Some(free.display().to_string()))
}

/// Refuses a folder of images, which a mistyped place may be: folders of a sweep in it would count as classes.
pub(super) fn no_images(folder: &Path) -> Result<()> {
    if folder.join("sweep.json").exists() {
        return Ok(());
    }
    let entries = |place: &Path| std::fs::read_dir(place).into_iter().flatten().flatten();
    let image = |entry: &std::fs::DirEntry| is_image_name(&entry.file_name().to_string_lossy());
    let holds = |place: &Path| entries(place).any(|entry| image(&entry));
    // Images of this folder, or of the classes in it; `samples` of a lost sweep is not a class.
    let own = ["samples", "plots", "runs", "logs"];
    let classes = entries(folder).filter(|entry| !own.iter().any(|name| entry.file_name() == *name));
    if holds(folder) || classes.map(|entry| entry.path()).any(|place| holds(&place)) {
        return Err(Error::file(folder, "holds images, not a sweep; choose a new folder"));
    }
    Ok(())
}
