//! A line that says how far a download is.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Bytes out of a known total: one line that is written over on a terminal, a line every so often in a
/// log.
pub struct Progress {
    label: String,
    total: u64,
    start: Instant,
    shown: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// `total` in bytes, at least 1.
    pub fn new(label: impl Into<String>, total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { label: label.into(), total: total.max(1), start: Instant::now(), shown: None, terminal }
    }

    /// Says that `done` bytes are there, unless that was said just now.
    pub fn show(&mut self, done: u64) {
        let pause = Duration::from_millis(if self.terminal { 200 } else { 10_000 });
        if self.shown.is_none_or(|shown| shown.elapsed() >= pause) {
            self.shown = Some(Instant::now());
            self.write(done, if self.terminal { "" } else { "\n" });
        }
    }

    /// Says that all is there.
    pub fn finish(&mut self) {
        self.write(self.total, "\n");
    }

    /// Ends the line on a terminal, for a message that follows.
    pub fn abandon(&self) {
        if self.terminal && self.shown.is_some() {
            eprintln!();
        }
    }

    fn write(&self, done: u64, end: &str) {
        let line = line(&self.label, done, self.total, self.start.elapsed());
        let (home, clear) = if self.terminal { ("\r", "\x1b[K") } else { ("", "") };
        let mut stderr = std::io::stderr().lock();
        // A closed standard error is no reason to stop a download.
        let _ = write!(stderr, "{home}{line}{clear}{end}").and_then(|()| stderr.flush());
    }
}

fn line(label: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let done = done.min(total);
    let (megabytes, all) = (done as f64 / 1e6, total as f64 / 1e6);
    let percent = 100 * done / total;
    let rate = megabytes / elapsed.as_secs_f64().max(0.1);
    let mut line = format!("set-up: {label}: {megabytes:.0} of {all:.0} MB ({percent}%), {rate:.1} MB/s");
    if done > 0 && done < total {
        line.push_str(&format!(", {:.0} s left", (all - megabytes) / rate));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_amount_share_rate_and_time_left() {
        let text = line("torch", 50_000_000, 200_000_000, Duration::from_secs(10));
        assert_eq!(text, "set-up: torch: 50 of 200 MB (25%), 5.0 MB/s, 30 s left");
    }

    #[test]
    fn more_than_all_is_all() {
        let text = line("torch", 300, 200, Duration::from_secs(1));
        assert!(text.contains("(100%)") && !text.contains("left"), "{text}");
    }
}
