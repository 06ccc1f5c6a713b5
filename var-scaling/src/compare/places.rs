//! Where the parts of a comparison are, from its folder.

use std::path::{Path, PathBuf};

use super::plan::{ComparisonPlan, PlannedArm};
use crate::request::{PlannedRun, TokenizerSource};

/// The run folder of a model of an arm.
pub(super) fn folder_of(arm: &PlannedArm, run: &PlannedRun) -> PathBuf {
    Path::new(&arm.models).join("runs").join(&run.name)
}

/// The samples of an arm's model, and their score. The name has the settings, so that other settings are another evaluation.
pub(super) fn evaluation_of(plan: &ComparisonPlan, arm: &PlannedArm, run: &PlannedRun) -> PathBuf {
    let (sample, scoring) = (&arm.plan.preset.sample, &plan.scoring);
    let name = format!(
        "cfg{}-k{}-p{}-n{}-b{}",
        sample.cfg, sample.top_k, sample.top_p, scoring.images, scoring.bootstrap
    );
    folder_of(arm, run).join("evaluation").join(name)
}

/// The scores of the tokenizer of an arm.
pub(super) fn reconstruction_of(arm: &PlannedArm) -> PathBuf {
    Path::new(&arm.name).join("reconstruction")
}

/// The sample grid of an arm's model.
pub(super) fn grid_of(plan: &ComparisonPlan, arm: &PlannedArm, run: &PlannedRun) -> PathBuf {
    if arm.trains() {
        Path::new(&arm.name).join("samples").join(format!("{}.png", run.name))
    } else {
        evaluation_of(plan, arm, run).join("grid.png")
    }
}

/// The models that are timed: one seed of each size, of each arm that trains and is guided as the first one.
pub(super) fn timed(plan: &ComparisonPlan) -> impl Iterator<Item = (&PlannedArm, &PlannedRun)> {
    plan.arms.iter().filter(|arm| is_timed(plan, arm)).flat_map(|arm| {
        arm.plan.runs.iter().filter(|run| run.seed == arm.plan.seed).map(move |run| (arm, run))
    })
}

/// Whether the models of an arm are timed.
pub(super) fn is_timed(plan: &ComparisonPlan, arm: &PlannedArm) -> bool {
    let guidance = |arm: &PlannedArm| arm.plan.preset.sample.cfg;
    arm.trains() && plan.arms.first().is_some_and(|first| guidance(first) == guidance(arm))
}

/// Whether an arm brings a tokenizer of its own.
pub(super) fn has_tokenizer(arm: &PlannedArm) -> bool {
    arm.trains() && matches!(arm.plan.tokenizer, TokenizerSource::Trained { .. })
}
