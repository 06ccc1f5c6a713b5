//! Checkpoints of a run: saving, restoring, and bringing all ranks to the same state.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tch::Tensor;
use var_tokenizer::torch::check_finite;
use var_tokenizer::weights::safetensors;

use super::event::{Watch, note};
use super::task::Task;
use crate::average::AVERAGE_FILE;
use crate::checkpoint::{self, Checkpoint, Damaged, MODEL_FILE, OPTIMIZER_FILE, State};
use crate::distributed::Ranks;
use crate::error::{Error, Result};
use crate::optimizer::Update;
use crate::run::RunFolder;

/// Checks that all values of a file of a checkpoint are finite.
fn check_values(file: &str, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    for (name, tensor) in tensors {
        check_finite(tensor, || format!("{name} of {file}"))?;
    }
    Ok(())
}

/// Saves a checkpoint. Refuses values that are not finite: no run can resume from them.
pub(super) fn save(
    task: &mut dyn Task,
    moments: BTreeMap<String, Tensor>,
    run: &RunFolder,
    state: &State,
    keep: usize,
) -> Result<PathBuf> {
    let mut rest = moments;
    rest.extend(task.extra().into_iter().map(|(name, t)| (format!("extra.{name}"), t)));
    let mut files = BTreeMap::from([
        (MODEL_FILE, (task.parameters().to_map(), task.metadata()?)),
        (OPTIMIZER_FILE, (rest, BTreeMap::new())),
    ]);
    let metadata = task.metadata()?;
    if let Some(average) = task.average() {
        files.insert(AVERAGE_FILE, (average.to_map(), metadata));
    }
    // The weights first: an average of bad weights is bad, too.
    for file in [MODEL_FILE, OPTIMIZER_FILE, AVERAGE_FILE] {
        files.get(file).map_or(Ok(()), |(tensors, _)| check_values(file, tensors))?;
    }
    let state = State { files: BTreeMap::new(), task: task.numbers(), ..state.clone() };
    checkpoint::save(run.path(), &files, state, keep)
}

/// Restores the newest whole checkpoint; `None` when the run has none yet.
pub(super) fn restore(
    task: &mut dyn Task,
    optimizer: &mut dyn Update,
    run: &RunFolder,
    watch: &mut Watch<'_>,
) -> Result<Option<Checkpoint>> {
    let Some(found) = newest(run, watch)? else {
        note(watch, "no checkpoint yet; starting from step 0")?;
        return Ok(None);
    };
    task.load(&safetensors::open(&found.path.join(MODEL_FILE))?)?;
    let file = found.path.join(OPTIMIZER_FILE);
    let tensors = safetensors::open(&file)?.read_finite()?;
    optimizer.load(&tensors, &file.display().to_string())?;
    let mut restored = vec![(MODEL_FILE, task.parameters().to_map())];
    if let Some(average) = task.average() {
        average.load(&found.path.join(AVERAGE_FILE))?;
        restored.push((AVERAGE_FILE, average.to_map()));
    }
    for (name, tensors) in restored.iter().map(|(name, map)| (*name, map)).chain([(OPTIMIZER_FILE, &tensors)])
    {
        check_values(name, tensors).map_err(|e| {
            Error::file(&found.path, format!("{e}; remove this checkpoint to resume from an earlier one"))
        })?;
    }
    let extra: BTreeMap<String, Tensor> = tensors
        .iter()
        .filter_map(|(name, t)| Some((name.strip_prefix("extra.")?.to_owned(), t.shallow_clone())))
        .collect();
    task.restore(&extra, &found.state.task)?;
    note(watch, &format!("resumed from {}", found.path.display()))?;
    Ok(Some(found))
}

/// Finds the newest whole checkpoint, and sets damaged ones aside. Says which are damaged or missing.
fn newest(run: &RunFolder, watch: &mut Watch<'_>) -> Result<Option<Checkpoint>> {
    let last = checkpoint::last_saved(run.path());
    let (found, skipped) = checkpoint::newest(run.path())?;
    for Damaged { path, reason } in &skipped {
        note(watch, &format!("skipped a damaged checkpoint: {reason}"))?;
        // To start over would drop all work of the run; only a person may decide that.
        if found.is_none() {
            return Err(Error::file(
                path,
                format!(
                    "is damaged, as is every other checkpoint ({reason}); restore one, or choose another run folder"
                ),
            ));
        }
        checkpoint::set_aside(path)?;
    }
    let Some(found) = found else { return Ok(None) };
    if let Some(last) = last.filter(|last| skipped.is_empty() && !found.path.ends_with(last)) {
        note(watch, &format!("checkpoint {last}, the last one saved, is missing"))?;
    }
    Ok(Some(found))
}

/// Brings all ranks to the state of rank 0: parameters and buffers, moments, the task's numbers, and the step. Then sets
/// up the average of the gradients, unless the optimizer averages them.
pub(super) fn align(
    task: &mut dyn Task,
    optimizer: &mut dyn Update,
    state: &mut State,
    ranks: Ranks,
) -> Result<()> {
    if ranks.size() == 1 {
        return Ok(());
    }
    let extra = task.extra();
    let mut tensors: Vec<Tensor> =
        task.parameters().entries().iter().map(|entry| entry.tensor.shallow_clone()).collect();
    tensors.extend(extra.values().map(Tensor::shallow_clone));
    ranks.broadcast(&tensors)?;
    optimizer.share_out(ranks)?;
    let broken = |e: serde_json::Error| Error::Distributed(format!("the state of rank 0 is unreadable: {e}"));
    let word = ranks.told_by_leader(|| {
        let own = State { task: task.numbers(), ..state.clone() };
        serde_json::to_string(&own).map_err(broken)
    })?;
    if !ranks.leads() {
        *state = serde_json::from_str(&word).map_err(broken)?;
        task.restore(&extra, &state.task)?;
    }
    if optimizer.averages_itself() { Ok(()) } else { ranks.average_gradients_of(task.parameters()) }
}
