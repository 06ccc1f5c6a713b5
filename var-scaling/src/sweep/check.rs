//! Asks the trainer whether it would take the settings of a plan, before anything is computed.

use std::process::{Command, Stdio};

use super::child;
use super::training::{model_settings, to_check, tokenizer_settings};
use crate::error::{Error, Result};
use crate::plan::Plan;
use crate::request::{Run, TokenizerSource};

/// One question to `var-train`.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The stage or size that it is about.
    pub name: String,
    /// Arguments of `var-train`.
    pub arguments: Vec<String>,
}

/// The questions about what of `plan` lies ahead.
pub fn questions(plan: &Plan, done: impl Fn(&Run) -> bool, has_tokenizer: bool) -> Vec<Question> {
    let mut questions = Vec::new();
    let mut ask = |name: &str, command: &str, settings: Vec<String>| {
        let arguments = [vec![command.to_owned(), "--check".into()], settings].concat();
        questions.push(Question { name: name.to_owned(), arguments });
    };
    if let TokenizerSource::Trained { preset, set } = &plan.tokenizer
        && !has_tokenizer
    {
        ask("tokenizer", "tokenizer", tokenizer_settings(preset, set));
    }
    for run in to_check(&plan.runs, done) {
        ask(&run.name, "model", model_settings(run));
    }
    questions
}

/// Checks the settings of a plan that is only shown. Says so when that cannot be done here.
///
/// # Errors
/// When the trainer refuses a setting.
pub fn shown(plan: &Plan) -> Result<Option<String>> {
    let program = match child::program("var-train") {
        Ok(program) => program,
        Err(e) => return Ok(Some(format!("the settings are not checked: {e}"))),
    };
    for Question { name, arguments } in questions(plan, |_| false, false) {
        let output = Command::new(&program)
            .args(&arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .output()
            .map_err(|e| Error::io(&program, e))?;
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default().trim();
        let message = last.strip_prefix("error: ").unwrap_or(last);
        match output.status.code() {
            Some(0) => {}
            Some(2) => return Err(Error::config(format!("{name}: {message}"))),
            _ => return Ok(Some(format!("the settings of {name} are not checked: {message}"))),
        }
    }
    Ok(None)
}
