//! What a person sees during long work: a bar on a terminal, lines in a log, JSON events for programs.

use std::io::{ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::runtime::error::{Error, Result};

/// Least time between two lines of a log without a terminal.
pub(crate) const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Writes a line to standard output. A reader that went away (`| head`) is no failure.
///
/// # Errors
/// When it cannot be written for another reason, a full disk for example.
pub fn say(text: impl std::fmt::Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(Error::io("standard output", e)),
        _ => Ok(()),
    }
}

/// Writes a line to standard error. Where that fails there is nobody left to tell.
pub fn tell(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

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

impl Show {
    /// From the two flags that every command has.
    pub fn from_flags(json: bool, quiet: bool) -> Self {
        match (json, quiet) {
            (true, _) => Self::Json,
            (_, true) => Self::Quiet,
            _ => Self::Human,
        }
    }
}

/// How this program shows what libraries do on their own account, downloads for example; see [`of_program`].
static OF_PROGRAM: OnceLock<Show> = OnceLock::new();

/// How this program shows the progress of work that has no [`Progress`] of its caller. In a program of others: not at all.
pub(crate) fn of_program() -> Show {
    OF_PROGRAM.get().copied().unwrap_or(Show::Quiet)
}

/// Sets [`of_program`]; only the programs of this workspace do.
pub(crate) fn set_of_program(show: Show) {
    let _ = OF_PROGRAM.set(show);
}

/// Progress of one piece of work, in whole units (images, steps).
#[derive(Debug)]
pub struct Progress {
    show: Show,
    bar: Option<ProgressBar>,
    total: u64,
    began: (Instant, u64),
    at: u64,
    printed: Instant,
}

impl Progress {
    /// Progress shown as `show`.
    pub fn new(show: Show) -> Self {
        let now = Instant::now();
        Self { show, bar: None, total: 0, began: (now, 0), at: 0, printed: now }
    }

    /// Begins at unit `at` of `total`.
    pub fn start(&mut self, at: u64, total: u64) {
        (self.total, self.began, self.at) = (total, (Instant::now(), at), at);
        if self.show == Show::Human && std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:32} {pos}/{len} {msg} {eta} left") {
                bar.set_style(style);
            }
            bar.set_position(at);
            self.bar = Some(bar);
        }
    }

    /// Units a second since the beginning.
    pub fn rate(&self) -> f64 {
        self.at.saturating_sub(self.began.1) as f64 / self.began.0.elapsed().as_secs_f64().max(1e-9)
    }

    /// Seconds left at this rate.
    pub(crate) fn seconds_left(&self) -> f64 {
        (self.total.saturating_sub(self.at)) as f64 / self.rate().max(1e-9)
    }

    /// Now at unit `at`; the rate is shown in `units` a second.
    pub fn advance(&mut self, at: u64, units: &str) {
        self.at = at;
        let text = format!("{:.0} {units}/s", self.rate());
        self.show_at(&text, &json!({"images_per_second": self.rate()}));
    }

    /// Now at unit `at`, with a text for people and more fields for programs.
    pub fn advance_with(&mut self, at: u64, text: &str, fields: &Value) {
        self.at = at;
        self.show_at(text, fields);
    }

    fn show_at(&mut self, text: &str, fields: &Value) {
        if let Some(bar) = &self.bar {
            bar.set_position(self.at);
            bar.set_message(text.to_owned());
            return;
        }
        // A program that reads events wants them more often than a person reads lines.
        let interval = if self.show == Show::Json { LOG_INTERVAL / 20 } else { LOG_INTERVAL };
        if self.printed.elapsed() < interval && self.at != self.total {
            return;
        }
        self.printed = Instant::now();
        match self.show {
            Show::Human => {
                tell(format_args!("{}/{}  {text}  {:.0} s left", self.at, self.total, self.seconds_left()));
            }
            Show::Json => {
                let mut event = json!({
                    "event": "progress", "step": self.at, "steps": self.total,
                    "seconds_left": self.seconds_left(),
                });
                if let (Some(object), Some(more)) = (event.as_object_mut(), fields.as_object()) {
                    object.extend(more.clone());
                }
                self.event(&event);
            }
            Show::Quiet => {}
        }
    }

    /// A line for the person.
    pub fn note(&self, text: &str) {
        match (self.show, &self.bar) {
            (Show::Quiet, _) => {}
            (_, Some(bar)) => bar.println(text),
            _ => tell(text),
        }
    }

    /// A line on what was left out or decided, which also `--quiet` does not silence.
    pub fn warn(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => tell(text),
        }
    }

    /// One JSON event on standard output; nothing unless JSON was asked for.
    pub fn event(&self, value: &Value) {
        if self.show == Show::Json {
            let _ = say(value);
        }
    }

    /// Ends the bar.
    pub fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}
