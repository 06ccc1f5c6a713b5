//! One file over the network: resumed after a cut connection, checked at the end.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ureq::Body;
use ureq::http::Response;

use super::client::{Answer, Failure, header};
use crate::runtime::error::{Error, Result};
use crate::runtime::files::{sha256_of, with_suffix};
use crate::runtime::progress::{self, Progress};
use crate::runtime::signals;

/// Tries in a row that bring no byte.
const TRIES: u32 = 5;
/// The pause after the first of them; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often a pause looks for signals.
const LOOK: Duration = Duration::from_millis(50);
/// Bytes read at once.
const PIECE: usize = 1 << 18;
/// Ending of a file that is not complete, as Python's library names it.
const INCOMPLETE: &str = ".incomplete";
/// Unit of the bar.
const MEGABYTE: u64 = 1_000_000;

/// A file to bring.
pub(super) struct Download<'a> {
    /// What it is called in messages.
    pub name: &'a str,
    /// Where it goes.
    pub to: &'a Path,
    /// Its size, if it is known before.
    pub bytes: Option<u64>,
    /// The beginning of its SHA-256, if it is known.
    pub sha256: Option<&'a str>,
    /// Whether it is a zip archive: then one that does not end as such is refused, sum or not.
    pub zip: bool,
}

/// Asks again while a server is busy, as often as a download does.
///
/// # Errors
/// When a signal asks to stop meanwhile.
pub(super) fn patiently<T>(
    name: &str,
    progress: &Progress,
    ask: impl Fn() -> Answer<T>,
) -> Result<Answer<T>> {
    for failures in 1..TRIES {
        match ask() {
            Err(Failure::Passing(words, wait)) => {
                progress.note(&format!("{name}: {words}; trying again"));
                pause(wait.unwrap_or(PAUSE * 2_u32.saturating_pow(failures)), name)?;
            }
            answer => return Ok(answer),
        }
    }
    Ok(ask())
}

/// How a try ended.
enum Step {
    Complete,
    /// The connection ended early.
    Cut(String),
}

impl Download<'_> {
    /// Brings the file: `open` asks for its bytes from a position on. What an earlier call left is continued.
    ///
    /// # Errors
    /// When the server or the disk refuses, or the sum is wrong (the file is then removed).
    pub(super) fn run(&self, open: impl Fn(u64) -> Answer<Response<Body>>) -> Result<()> {
        let partial = with_suffix(self.to, INCOMPLETE);
        let mut progress = Progress::new(progress::of_program());
        let (mut failures, mut had) = (0, length(&partial));
        loop {
            let step = match open(had) {
                Ok(answer) => self.receive(answer, &partial, had, &mut progress)?,
                Err(Failure::Passing(words, wait)) => {
                    pause(wait.unwrap_or_default(), self.name)?;
                    Step::Cut(words)
                }
                Err(Failure::Absent(words)) => Step::Cut(words),
                Err(Failure::Final(words)) => return Err(Error::Config(words)),
            };
            let has = length(&partial);
            let words = match step {
                Step::Complete => break,
                Step::Cut(words) => words,
            };
            failures = if has > had { 0 } else { failures + 1 };
            had = has;
            if failures >= TRIES {
                progress.finish();
                let kept = if has > 0 {
                    format!("; run the same command again to resume at {}", size(has))
                } else {
                    "".into()
                };
                return Err(Error::Check(format!("{}: {words}{kept}", self.name)));
            }
            progress.note(&format!("{}: {words}; trying again from {}", self.name, size(has)));
            pause(PAUSE * 2_u32.saturating_pow(failures), self.name)?;
        }
        progress.finish();
        self.check(&partial)?;
        File::open(&partial).and_then(|file| file.sync_all()).map_err(|e| Error::io(&partial, e))?;
        std::fs::rename(&partial, self.to).map_err(|e| Error::io(self.to, e))
    }

    /// Writes what `answer` brings to `partial`, which has `had` bytes.
    fn receive(
        &self,
        answer: Response<Body>,
        partial: &Path,
        had: u64,
        progress: &mut Progress,
    ) -> Result<Step> {
        let io = |e: std::io::Error| Error::io(partial, e);
        let (continues, beyond) = (answer.status().as_u16() == 206, answer.status().as_u16() == 416);
        if beyond {
            // There is nothing after the last byte; a file of another size begins again.
            if Some(had) == self.bytes.or_else(|| total_after_slash(&answer)) {
                return Ok(Step::Complete);
            }
            std::fs::remove_file(partial).map_err(io)?;
            return Ok(Step::Cut("the partial file does not fit; it was removed".into()));
        }
        let mut options = OpenOptions::new();
        // A server without ranges sends the whole.
        let mut file = if continues { options.append(true) } else { options.write(true).truncate(true) }
            .create(true)
            .open(partial)
            .map_err(io)?;
        let mut at = if continues { had } else { 0 };
        let rest = answer.body().content_length();
        let total = self.bytes.or_else(|| rest.map(|rest| rest + at));
        progress.finish();
        let shown = total.is_none_or(|total| total >= MEGABYTE);
        if shown {
            progress.start(at / MEGABYTE, total.unwrap_or_default() / MEGABYTE);
        }
        let mut body = answer.into_body().into_with_config().limit(u64::MAX).reader();
        let mut piece = vec![0; PIECE];
        loop {
            if signals::asked_to_stop() {
                progress.finish();
                return Err(Error::Interrupted(format!(
                    "{}: {} of it are kept; run the same command again to resume",
                    self.name,
                    size(at)
                )));
            }
            let read = match body.read(&mut piece) {
                Ok(0) => break,
                Ok(read) => read,
                Err(e) => return Ok(Step::Cut(format!("the connection was cut ({e})"))),
            };
            file.write_all(piece.get(..read).unwrap_or_default()).map_err(io)?;
            let before = at / MEGABYTE;
            at += read as u64;
            if shown && at / MEGABYTE != before {
                progress.advance(at / MEGABYTE, "MB");
            }
        }
        Ok(match total {
            Some(total) if at < total => Step::Cut("the connection ended early".into()),
            Some(total) if at > total => {
                std::fs::remove_file(partial).map_err(io)?;
                Step::Cut("more bytes came than there should be".into())
            }
            _ => Step::Complete,
        })
    }

    /// Compares the sum, and looks for the end of an archive; removes a file that is wrong.
    fn check(&self, partial: &Path) -> Result<()> {
        let wrong = |why: String| {
            std::fs::remove_file(partial).map_err(|e| Error::io(partial, e))?;
            Err(Error::Check(format!("{}: {why}; it was removed: run the same command again", self.name)))
        };
        if let Some(expected) = self.sha256 {
            let found = sha256_of(partial)?;
            if !found.starts_with(expected) {
                return wrong(format!("damaged on the way (SHA-256 {found}, expected {expected})"));
            }
        }
        if self.zip && !ends_as_zip(partial).map_err(|e| Error::io(partial, e))? {
            return wrong("not an archive; perhaps the page of a network that wants a login".into());
        }
        Ok(())
    }
}

/// `bytes`, for people.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} bytes"),
        1000..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |about| about.len())
}

/// The total of `Content-Range: bytes */TOTAL`.
fn total_after_slash(answer: &Response<Body>) -> Option<u64> {
    header(answer.headers(), "content-range")?.rsplit_once('/')?.1.parse().ok()
}

/// Whether the file begins as a zip archive does, and has the record that ends one.
fn ends_as_zip(path: &Path) -> std::io::Result<bool> {
    /// The record, with the longest comment behind it.
    const LONGEST_END: u64 = 22 + 0xffff;
    let mut file = File::open(path)?;
    let (mut begin, mut end) = (Vec::new(), Vec::new());
    (&file).take(4).read_to_end(&mut begin)?;
    file.seek(SeekFrom::Start(file.metadata()?.len().saturating_sub(LONGEST_END)))?;
    file.read_to_end(&mut end)?;
    Ok(begin == b"PK\x03\x04" && end.windows(4).any(|four| four == b"PK\x05\x06"))
}

/// Waits, unless a signal asks to stop.
fn pause(time: Duration, name: &str) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < time.min(LONGEST_PAUSE) {
        if signals::asked_to_stop() {
            return Err(Error::Interrupted(format!("{name}: run the same command again to resume")));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
