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
    } else if case.text("kind").starts_with("vqgan_") {
        match case.text("kind") {
            "vqgan_step" => vqgan_step::check(&mut case)?,
            _ => vqgan::check(&mut case)?,
        }
        case.finish(&[]);
    }
    Ok(case.checks)
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
