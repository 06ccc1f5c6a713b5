//! Progress of a sweep: a bar in a terminal, a line every ten seconds in a log. Several pieces may run at a time.

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

/// A piece that runs.
#[derive(Debug, Clone)]
struct Current {
    name: String,
    began: Instant,
    /// Seconds left, as its program reported.
    left: Option<f64>,
    /// Progress, as its program reported.
    place: String,
}

/// Progress of a sweep.
#[derive(Debug)]
pub(crate) struct SweepProgress {
    quiet: bool,
    bar: Option<ProgressBar>,
    pieces: Vec<Piece>,
    /// Number of trainings that run at a time.
    jobs: usize,
    current: Vec<Current>,
    began: Instant,
    printed: Option<Instant>,
}

impl SweepProgress {
    /// Progress over pieces: name, expected seconds, and whether it is a training of a size. `jobs` trainings run at a
    /// time.
    pub(crate) fn new(
        quiet: bool,
        jobs: usize,
        pieces: impl IntoIterator<Item = (String, f64, bool)>,
    ) -> Self {
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
            jobs: jobs.max(1),
            current: Vec::new(),
            began: Instant::now(),
            printed: None,
        }
    }

    /// Starts a piece.
    pub(crate) fn begin(&mut self, name: &str) {
        if self.current.is_empty() {
            self.printed = Some(Instant::now());
        }
        let (name, place) = (name.to_owned(), String::new());
        self.current.push(Current { name, began: Instant::now(), left: None, place });
    }

    /// Ends a piece, and returns its seconds. `done`: it finished.
    pub(crate) fn end(&mut self, name: &str, done: bool) -> f64 {
        let Some(index) = self.current.iter().position(|c| c.name == name) else { return 0.0 };
        let seconds = self.current.remove(index).began.elapsed().as_secs_f64();
        if let Some(piece) = self.pieces.iter_mut().find(|p| p.name == name) {
            // A failed piece does not run again, and its time says nothing about the others.
            piece.took = Some(if done { seconds } else { 0.0 });
        }
        seconds
    }

    /// A piece will start again.
    pub(crate) fn again(&mut self, name: &str) {
        if let Some(piece) = self.pieces.iter_mut().find(|p| p.name == name) {
            piece.took = None;
        }
    }

    /// Removes a piece that an earlier call finished.
    pub(crate) fn skip(&mut self, name: &str) {
        self.pieces.retain(|p| p.name != name);
    }

    /// Takes an event of the program of a piece, or none to show the time. Shows the progress.
    pub(crate) fn tick(&mut self, name: &str, event: Option<&Value>) {
        let Some(current) = self.current.iter_mut().find(|c| c.name == name) else { return };
        let number = |key: &str| event.and_then(|e| e.get(key)).and_then(Value::as_f64);
        if let Some(left) = number("seconds_left") {
            current.left = Some(left);
        }
        if let (Some(step), Some(steps)) = (number("step"), number("steps")) {
            let loss = number("loss").map_or_else(String::new, |loss| format!(", loss {loss:.3}"));
            current.place = format!(": {step} of {steps}{loss}");
        }
        // The bar changes with each event; the log gets a line per interval.
        let due = match self.bar {
            Some(_) => event.is_some(),
            None => !self.quiet && self.printed.is_none_or(|p| p.elapsed() >= INTERVAL),
        };
        if due {
            self.show();
        }
    }

    fn show(&mut self) {
        let left = self.seconds_left();
        let number = |name: &str| self.pieces.iter().position(|p| p.name == name).map_or(0, |i| i + 1);
        let text: Vec<String> = self
            .current
            .iter()
            .map(|c| format!("{} ({} of {}){}", c.name, number(&c.name), self.pieces.len(), c.place))
            .collect();
        let text = format!("{}, {} left in total", text.join("; "), duration(left));
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

    /// Seconds until the end: those of the pieces that run, and the estimates of the others, corrected by the error of the
    /// estimates so far and divided among the jobs.
    pub(crate) fn seconds_left(&self) -> f64 {
        let current = |name: &str| self.current.iter().find(|c| c.name == name);
        let mut expected = 0.0;
        let mut took = 0.0;
        for piece in self.pieces.iter().filter(|p| p.run) {
            let seconds = match (piece.took, current(&piece.name)) {
                (Some(seconds), _) => seconds,
                (None, Some(c)) => c.left.map_or(0.0, |left| c.began.elapsed().as_secs_f64() + left),
                (None, None) => 0.0,
            };
            if seconds > 0.0 {
                expected += piece.expected;
                took += seconds;
            }
        }
        let factor = if expected > 0.0 { took / expected } else { 1.0 };
        let left = |piece: &Piece| {
            let whole = if piece.run { piece.expected * factor } else { piece.expected };
            current(&piece.name)
                .map_or(whole, |c| c.left.unwrap_or((whole - c.began.elapsed().as_secs_f64()).max(1.0)))
        };
        let left: Vec<f64> = self.pieces.iter().filter(|p| p.took.is_none()).map(left).collect();
        let longest = left.iter().copied().fold(0.0, f64::max);
        (left.iter().sum::<f64>() / self.jobs as f64).max(longest)
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
        let mut progress = SweepProgress::new(true, 1, pieces.map(|(n, s, r)| (n.to_owned(), s, r)));
        assert_eq!(progress.seconds_left(), 35.0);
        progress.skip("tokens");
        assert_eq!(progress.seconds_left(), 30.0);
        progress.begin("a");
        progress.tick("a", Some(&serde_json::json!({"step": 1, "steps": 2, "seconds_left": 20.0})));
        // It takes twice the expected time, so the other run does, too.
        assert!((progress.seconds_left() - 60.0).abs() < 1.0, "{}", progress.seconds_left());
    }

    #[test]
    fn two_jobs_share_what_is_left() {
        let pieces = [("a", 30.0, true), ("b", 20.0, true), ("c", 10.0, true)];
        let mut progress = SweepProgress::new(true, 2, pieces.map(|(n, s, r)| (n.to_owned(), s, r)));
        assert_eq!(progress.seconds_left(), 30.0);
        progress.begin("a");
        progress.begin("b");
        progress.end("b", false);
        progress.tick("a", Some(&serde_json::json!({"seconds_left": 30.0})));
        assert!((progress.seconds_left() - 30.0).abs() < 1.0, "{}", progress.seconds_left());
    }
}
