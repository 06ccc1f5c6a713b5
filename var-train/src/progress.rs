//! What a person sees during long work: a bar, lines in a log, or JSON events.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Map, Value, json};

use crate::engine::LOG_INTERVAL;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// A bar on a terminal, a line every so often in a log; on standard error.
    Human,
    /// JSON lines on standard output.
    Json,
    /// Nothing.
    Quiet,
}

/// Progress of one run.
#[derive(Debug)]
pub struct Progress {
    show: Show,
    bar: Option<ProgressBar>,
    steps: u64,
    began: (Instant, u64),
    printed: Instant,
}

impl Progress {
    /// Progress shown as `show`.
    pub fn new(show: Show) -> Self {
        Self { show, bar: None, steps: 0, began: (Instant::now(), 0), printed: Instant::now() }
    }

    /// Begins at `step` of `steps`.
    pub fn start(&mut self, step: u64, steps: u64) {
        self.steps = steps;
        self.began = (Instant::now(), step);
        if self.show == Show::Human && std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(steps), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg} {eta} left") {
                bar.set_style(style);
            }
            bar.set_position(step);
            self.bar = Some(bar);
        }
    }

    /// One step done.
    pub fn step(&mut self, step: u64, loss: f64, pictures: usize, tokens: usize) {
        let seconds = self.began.0.elapsed().as_secs_f64().max(1e-9);
        let per_second = (step - self.began.1) as f64 / seconds;
        let left = (self.steps - step) as f64 / per_second.max(1e-9);
        let message = format!(
            "loss {loss:.4}  {:.0} images/s  {:.0} tokens/s",
            per_second * pictures as f64,
            per_second * (pictures * tokens) as f64
        );
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            bar.set_message(message);
            return;
        }
        // A reader of events wants them more often than a person reads lines.
        let interval = if self.show == Show::Json { LOG_INTERVAL / 20 } else { LOG_INTERVAL };
        if self.printed.elapsed() < interval && step != self.steps {
            return;
        }
        self.printed = Instant::now();
        match self.show {
            Show::Json => self.event(&json!({
                "event": "progress", "step": step, "steps": self.steps, "loss": loss,
                "seconds_left": left, "images_per_second": per_second * pictures as f64,
            })),
            Show::Human => eprintln!("step {step}/{}  {message}  {left:.0} s left", self.steps),
            Show::Quiet => {}
        }
    }

    /// Scores of a validation.
    pub fn validated(&mut self, step: u64, scores: &Map<String, Value>) {
        if self.show == Show::Json {
            self.event(&json!({"event": "validation", "step": step, "scores": scores}));
            return;
        }
        let text: Vec<String> = scores
            .iter()
            .filter(|(key, value)| value.is_f64() && *key != "seconds")
            .take(6)
            .map(|(key, value)| format!("{key} {:.4}", value.as_f64().unwrap_or(f64::NAN)))
            .collect();
        self.note(&format!("step {step}: {}", text.join("  ")));
    }

    /// A line for the person.
    pub fn note(&self, text: &str) {
        match (self.show, &self.bar) {
            (Show::Quiet, _) => {}
            (_, Some(bar)) => bar.println(text),
            _ => eprintln!("{text}"),
        }
    }

    /// One JSON event on standard output; nothing unless JSON was asked for.
    pub fn event(&self, value: &Value) {
        if self.show == Show::Json {
            // A reader that went away is no reason to stop training.
            let mut out = std::io::stdout().lock();
            let _ = writeln!(out, "{value}");
            let _ = out.flush();
        }
    }

    /// Ends the bar.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
