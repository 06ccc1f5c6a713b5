//! Progress of a sweep: a bar in a terminal, a line every ten seconds in a log.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use var_tokenizer::progress::tell;

use crate::quantity::duration;

/// Minimum time between two lines of a log.
const INTERVAL: Duration = Duration::from_secs(10);
/// Positions of the bar.
const POSITIONS: u64 = 1000;

/// One piece of the work.
#[derive(Debug, Clone, PartialEq)]
struct Piece {
    name: String,
    /// Expected seconds.
    expected: f64,
    /// Whether it is a training of a size. All their estimates have the same error.
    run: bool,
    /// Seconds that it took; none before its end.
    took: Option<f64>,
}

/// Progress of a sweep.
#[derive(Debug)]
pub(crate) struct SweepProgress {
    quiet: bool,
    bar: Option<ProgressBar>,
    pieces: Vec<Piece>,
    current: Option<(usize, Instant)>,
    /// Seconds left of the current piece, as its program reported.
    left: Option<f64>,
    /// Progress of the current piece, as its program reported.
    place: String,
    began: Instant,
    printed: Option<Instant>,
}

impl SweepProgress {
    /// Progress over pieces: name, expected seconds, and whether it is a training of a size.
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

    /// Starts a piece.
    pub(crate) fn begin(&mut self, name: &str) {
        self.left = None;
        self.place.clear();
        self.printed = Some(Instant::now());
        self.current = self.pieces.iter().position(|p| p.name == name).map(|i| (i, Instant::now()));
    }

    /// Ends the current piece, and returns its seconds. `done`: it finished.
    pub(crate) fn end(&mut self, done: bool) -> f64 {
        let Some((index, began)) = self.current.take() else { return 0.0 };
        let seconds = began.elapsed().as_secs_f64();
        if let Some(piece) = self.pieces.get_mut(index) {
            // A failed piece does not run again, and its time says nothing about the others.
            piece.took = Some(if done { seconds } else { 0.0 });
        }
        seconds
    }

    /// Removes a piece that an earlier call finished.
    pub(crate) fn skip(&mut self, name: &str) {
        self.pieces.retain(|p| p.name != name);
    }

    /// Takes an event of the child, or none to show the time. Shows the progress.
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
        // The bar changes with each event; the log gets a line per interval.
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

    /// Seconds until the end: those of the current piece, and the estimates of the others, corrected by the error of the
    /// estimates so far.
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

    /// Prints a line.
    pub(crate) fn note(&self, text: &str) {
        match &self.bar {
            _ if self.quiet => {}
            Some(bar) => bar.println(text),
            None => tell(text),
        }
    }

    /// Removes the bar.
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
    fn finished_runs_correct_the_estimates_of_the_others() {
        let pieces = [("tokens", 5.0, false), ("a", 10.0, true), ("b", 20.0, true)];
        let mut progress = SweepProgress::new(true, pieces.map(|(n, s, r)| (n.to_owned(), s, r)));
        assert_eq!(progress.seconds_left(), 35.0);
        progress.skip("tokens");
        assert_eq!(progress.seconds_left(), 30.0);
        progress.begin("a");
        progress.tick(Some(&serde_json::json!({"step": 1, "steps": 2, "seconds_left": 20.0})));
        // It takes twice the expected time, so the other run does, too.
        assert!((progress.seconds_left() - 60.0).abs() < 1.0, "{}", progress.seconds_left());
    }
}
