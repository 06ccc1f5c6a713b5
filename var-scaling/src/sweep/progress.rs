//! Progress of a sweep: one bar in a terminal, a line every ten seconds in a log.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use var_tokenizer::progress::tell;

use crate::quantity::duration;

/// Least time between two lines of a log.
const INTERVAL: Duration = Duration::from_secs(10);
/// Positions of the bar.
const POSITIONS: u64 = 1000;

/// One piece of the work ahead.
#[derive(Debug, Clone, PartialEq)]
struct Piece {
    name: String,
    /// Seconds it was expected to take.
    expected: f64,
    /// Whether it is a training run, whose expectations share one error.
    run: bool,
    /// Seconds it took; none while it lies ahead.
    took: Option<f64>,
}

/// Progress of a sweep.
#[derive(Debug)]
pub(crate) struct Progress {
    quiet: bool,
    bar: Option<ProgressBar>,
    pieces: Vec<Piece>,
    current: Option<(usize, Instant)>,
    /// Seconds that the current piece said are left.
    left: Option<f64>,
    /// Where the current piece said it is.
    place: String,
    began: Instant,
    printed: Option<Instant>,
}

impl Progress {
    /// Progress over pieces of a name, expected seconds, and whether they are training runs.
    pub(crate) fn new(quiet: bool, pieces: impl IntoIterator<Item = (String, f64, bool)>) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(POSITIONS), ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("{bar:30} {msg}") {
                bar.set_style(style);
            }
            bar
        });
        let pieces = pieces
            .into_iter()
            .map(|(name, expected, run)| Piece { name, expected, run, took: None })
            .collect();
        Self {
            quiet,
            bar,
            pieces,
            current: None,
            left: None,
            place: String::new(),
            began: Instant::now(),
            printed: None,
        }
    }

    /// Begins a piece.
    pub(crate) fn begin(&mut self, name: &str) {
        self.left = None;
        self.place.clear();
        self.printed = Some(Instant::now());
        self.current = self.pieces.iter().position(|p| p.name == name).map(|i| (i, Instant::now()));
    }

    /// Ends the current piece. `done` means that it finished.
    pub(crate) fn end(&mut self, done: bool) -> f64 {
        let Some((index, began)) = self.current.take() else { return 0.0 };
        let seconds = began.elapsed().as_secs_f64();
        if let Some(piece) = self.pieces.get_mut(index) {
            // A failed piece does not come again; its time says nothing about the others.
            piece.took = Some(if done { seconds } else { 0.0 });
        }
        seconds
    }

    /// Removes a piece that was done before.
    pub(crate) fn skip(&mut self, name: &str) {
        self.pieces.retain(|p| p.name != name);
    }

    /// A child's event, or none when only time has passed.
    pub(crate) fn tick(&mut self, event: Option<&Value>) {
        let number = |key: &str| event.and_then(|e| e.get(key)).and_then(Value::as_f64);
        if let Some(left) = number("seconds_left") {
            self.left = Some(left);
        }
        if let (Some(step), Some(steps)) = (number("step"), number("steps")) {
            let loss = number("loss").map_or_else(String::new, |loss| format!(", loss {loss:.3}"));
            self.place = format!(": {step} of {steps}{loss}");
        }
        let Some((index, _)) = self.current else { return };
        // A bar follows the events; a log gets a line per interval.
        let due = match self.bar {
            Some(_) => event.is_some(),
            None => !self.quiet && self.printed.is_none_or(|p| p.elapsed() >= INTERVAL),
        };
        if !due {
            return;
        }
        let left = self.seconds_left();
        let text = format!(
            "{} ({} of {}){}, {} left in total",
            self.pieces.get(index).map_or("", |p| p.name.as_str()),
            index + 1,
            self.pieces.len(),
            self.place,
            duration(left)
        );
        match &self.bar {
            Some(bar) => {
                let done = self.began.elapsed().as_secs_f64();
                bar.set_position((POSITIONS as f64 * done / (done + left).max(1e-9)) as u64);
                bar.set_message(text);
            }
            None => {
                self.printed = Some(Instant::now());
                tell(&text);
            }
        }
    }

    /// Seconds until the end: the estimate of the current piece, and that of the rest, corrected by the error of the
    /// finished runs.
    pub(crate) fn seconds_left(&self) -> f64 {
        let current = self.current.map(|(index, began)| (index, began.elapsed().as_secs_f64()));
        let mut expected = 0.0;
        let mut took = 0.0;
        for (i, piece) in self.pieces.iter().enumerate().filter(|(_, p)| p.run) {
            match (piece.took, current, self.left) {
                (Some(seconds), ..) if seconds > 0.0 => {
                    expected += piece.expected;
                    took += seconds;
                }
                (None, Some((index, seconds)), Some(left)) if index == i => {
                    expected += piece.expected;
                    took += seconds + left;
                }
                _ => {}
            }
        }
        let factor = if expected > 0.0 { took / expected } else { 1.0 };
        self.pieces
            .iter()
            .enumerate()
            .filter(|(_, p)| p.took.is_none())
            .map(|(i, p)| {
                let whole = if p.run { p.expected * factor } else { p.expected };
                match current {
                    Some((index, seconds)) if index == i => self.left.unwrap_or((whole - seconds).max(1.0)),
                    _ => whole,
                }
            })
            .sum()
    }

    /// A line for the person.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(text),
            None => tell(text),
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finished_runs_correct_what_is_expected_of_the_rest() {
        let pieces = [("tokens", 5.0, false), ("a", 10.0, true), ("b", 20.0, true)];
        let mut progress = Progress::new(true, pieces.map(|(n, s, r)| (n.to_owned(), s, r)));
        assert_eq!(progress.seconds_left(), 35.0);
        progress.skip("tokens");
        assert_eq!(progress.seconds_left(), 30.0);
        progress.begin("a");
        progress.tick(Some(&serde_json::json!({"step": 1, "steps": 2, "seconds_left": 20.0})));
        // Twice as slow as expected: the other run is, too.
        assert!((progress.seconds_left() - 60.0).abs() < 1.0, "{}", progress.seconds_left());
    }
}
