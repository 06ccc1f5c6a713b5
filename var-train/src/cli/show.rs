//! Shows the events of a run, and stops it on a signal.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use serde_json::{Value, json};
use signal_hook::consts::SIGUSR1;
use var_tokenizer::progress::{Progress, Show, tell};
use var_tokenizer::signals;
use var_train::records::{StepReport, Validation};
use var_train::{Error, Event, Result};

use super::ShowArgs;

/// Shows progress as the flags ask for.
pub struct Reporter {
    progress: Progress,
    /// Warnings then go straight to standard error: no bar is shown.
    quiet: bool,
    /// Raised by a signal that asks to stop; catches signals only while the run can save a checkpoint.
    stop: Option<Arc<AtomicBool>>,
    /// Images per step and tokens per image.
    sizes: (usize, usize),
}

impl Reporter {
    /// A reporter on the rank that `leads`; other ranks show warnings only.
    pub fn new(args: &ShowArgs, leads: bool) -> Self {
        let show = if leads { Show::from_flags(args.json, args.quiet) } else { Show::Quiet };
        Self { progress: Progress::new(show), quiet: args.quiet || !leads, stop: None, sizes: (0, 0) }
    }

    /// Tells something that a person must know, even with `--quiet`.
    pub fn warn(&self, text: &str) {
        if self.quiet {
            tell(format_args!("warning: {text}"));
        } else {
            self.progress.note(&format!("warning: {text}"));
        }
    }

    /// Says that only the settings of another run's `config.toml` count.
    pub fn note_config(&self, from_run: bool, file: Option<&Path>) {
        if let (true, Some(file)) = (from_run, file) {
            let file = file.display();
            self.progress.note(&format!(
                "{file}: the configuration of a run; takes its settings, not its data, tokenizer and precision"
            ));
        }
    }

    /// Shows one event. Gives `Break` once a signal asked to stop.
    pub fn show(&mut self, event: Event<'_>) -> Result<ControlFlow<()>> {
        match event {
            Event::Ready => self.stop = Some(catch_signals()?),
            Event::Begin { step, steps, images, tokens } => {
                self.sizes = (images, tokens);
                self.progress.start(step, steps);
            }
            Event::Step(report) => self.show_step(report),
            Event::Validation(validation) => self.show_validation(validation),
            Event::Note(text) => self.progress.note(text),
            Event::Warning(text) => self.warn(text),
        }
        let stopped = self.stop.as_ref().is_some_and(|stop| stop.load(Ordering::Relaxed));
        Ok(if stopped { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    fn show_step(&mut self, report: &StepReport) {
        let (images, tokens) = self.sizes;
        let (loss, rate) = (report.loss(), self.progress.rate() * images as f64);
        let text = format!("loss {loss:.4}  {rate:.0} images/s  {:.0} tokens/s", rate * tokens as f64);
        self.progress.advance_with(report.step, &text, &json!({"loss": loss, "images_per_second": rate}));
    }

    fn show_validation(&self, validation: &Validation) {
        let step = validation.step;
        let named = validation.scores.named();
        let scores: Vec<String> = named.iter().map(|(key, value)| format!("{key} {value:.4}")).collect();
        self.progress.note(&format!("step {step}: {}", scores.join("  ")));
        if let Ok(Value::Object(mut scores)) = serde_json::to_value(validation) {
            scores.shift_remove("step");
            self.progress.event(&json!({"event": "validation", "step": step, "scores": scores}));
        }
    }

    /// Ends the bar, and gives the result to programs.
    pub fn finish<T: Serialize>(&mut self, result: Result<T>) -> Result<T> {
        self.progress.finish();
        let result = result?;
        let event = serde_json::to_value(&result).map_err(|e| Error::config(e.to_string()))?;
        self.progress.event(&event);
        Ok(result)
    }

    /// Tells something, unless `--quiet`.
    pub fn note(&self, text: &str) {
        self.progress.note(text);
    }
}

/// A flag that the signals that ask to stop raise, and SIGUSR1, SLURM's warning before it takes the machines away.
fn catch_signals() -> Result<Arc<AtomicBool>> {
    let stop = signals::stop()?;
    signal_hook::flag::register(SIGUSR1, Arc::clone(&stop)).map_err(|e| Error::io("signals", e))?;
    Ok(stop)
}
