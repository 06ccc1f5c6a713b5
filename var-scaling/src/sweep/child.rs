//! One child process: its JSON events, its log, its end, and signals.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;
use var_tokenizer::signals::asking_to_stop;

use crate::error::{Error, Result};

/// The hidden subcommand that runs a child which ends with this program, see [`guard`].
pub const GUARD: &str = "run-guarded";

/// Counts the signals that ask this program to stop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stop {
    signals: Arc<AtomicUsize>,
}

impl Stop {
    /// Starts to listen for the signals that ask a program to stop.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub(crate) fn listen() -> Result<Self> {
        let stop = Self::default();
        let mut signals = Signals::new(asking_to_stop()).map_err(|e| Error::io("signals", e))?;
        let count = Arc::clone(&stop.signals);
        std::thread::spawn(move || {
            for signal in signals.forever() {
                // A closed terminal may send SIGHUP twice, which does not mean to stop at once.
                if signal == SIGHUP {
                    count.fetch_max(1, Ordering::Relaxed);
                } else {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Ok(stop)
    }

    /// Number of signals so far.
    pub(crate) fn count(&self) -> usize {
        self.signals.load(Ordering::Relaxed)
    }

    /// Fails after a signal.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub(crate) fn check(&self) -> Result<()> {
        if self.count() > 0 { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ending {
    /// Success, with its event `done`, if any.
    Done(Option<Value>),
    /// A signal stopped it after it saved.
    Interrupted,
    /// Failure.
    Failed {
        /// Its error message, or how it ended.
        message: String,
        /// Its exit status; none if a signal killed it.
        code: Option<i32>,
    },
}

impl Ending {
    /// The event of a success. `what` is the work, `log` its output, for the error.
    ///
    /// # Errors
    /// When the program failed, or a signal came.
    pub(crate) fn done(self, stop: &Stop, what: &str, log: PathBuf) -> Result<Option<Value>> {
        match self {
            Self::Done(event) => Ok(event),
            Self::Failed { message, code } if stop.count() == 0 => Err(Error::Stage {
                what: what.into(),
                message,
                code: if code == Some(2) { 2 } else { 1 },
                log: Some(log),
            }),
            _ => Err(Error::Interrupted),
        }
    }
}

/// The path of a program of this workspace: in `VAR_BIN_DIR`, else next to this executable.
///
/// # Errors
/// When it is missing.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let own = std::env::current_exe().map_err(|e| Error::io("own executable", e))?;
    let folder = match std::env::var_os("VAR_BIN_DIR") {
        Some(folder) => PathBuf::from(folder),
        None => own.parent().unwrap_or(Path::new(".")).to_owned(),
    };
    let path = folder.join(name);
    if path.is_file() {
        return Ok(path);
    }
    Err(Error::config(format!(
        "the program {name} is not in {}; build it with `cargo build --release -p {name}`, use \
         `cargo xtask sweep`, or set VAR_BIN_DIR to the folder of the program",
        folder.display()
    )))
}

/// Runs `program` with `arguments` until it ends. Passes every JSON line of its standard output to `on_event`, and
/// appends its standard error to `log`. The first signal sends SIGTERM to the child, which then saves; the second kills
/// it.
///
/// # Errors
/// When the program cannot be started or the log cannot be written.
pub(crate) fn run(
    program: &Path,
    arguments: &[String],
    log: &Path,
    stop: &Stop,
    on_event: &mut dyn FnMut(Option<&Value>),
) -> Result<Ending> {
    let fail = |e| Error::io(log, e);
    let file = OpenOptions::new().create(true).append(true).open(log).map_err(fail)?;
    let began = file.metadata().map_err(fail)?.len();
    let own = std::env::current_exe().map_err(|e| Error::io("own executable", e))?;
    let mut child = Command::new(own)
        .arg(GUARD)
        .arg(std::process::id().to_string())
        .arg(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        // Ctrl-C in the terminal reaches only this process, which sends one signal to the child.
        .process_group(0)
        .spawn()
        .map_err(|e| Error::io(program, e))?;
    let (sender, receiver) = channel::<Value>();
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let lines = output.into_iter().flat_map(|o| BufReader::new(o).split(b'\n')).map_while(|l| l.ok());
        for line in lines {
            // Lines that are not JSON are not events.
            if let Ok(value) = serde_json::from_slice::<Value>(&line)
                && sender.send(value).is_err()
            {
                break;
            }
        }
    });
    let mut last = None;
    // Number of signals when the child got SIGTERM.
    let mut told: Option<usize> = None;
    let mut killed = false;
    let status = loop {
        match receiver.recv_timeout(Duration::from_millis(100)) {
            Ok(event) => {
                on_event(Some(&event));
                last = Some(event);
                continue;
            }
            Err(RecvTimeoutError::Timeout) => on_event(None),
            // The child closed its output: it is about to end.
            Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(20)),
        }
        match told {
            None if stop.count() > 0 => {
                told = Some(stop.count());
                tell(&child, Signal::TERM);
            }
            Some(count) if !killed && stop.count() > count => {
                killed = true;
                tell(&child, Signal::KILL);
            }
            _ => {}
        }
        if let Some(status) = child.try_wait().map_err(|e| Error::io(program, e))? {
            break status;
        }
    };
    // The pipe may still have events of the child.
    let _ = reader.join();
    for event in receiver.try_iter() {
        on_event(Some(&event));
        last = Some(event);
    }
    Ok(ending(status, last, log, began))
}

fn tell(child: &std::process::Child, signal: Signal) {
    // The child may have ended.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

fn ending(status: ExitStatus, last: Option<Value>, log: &Path, began: u64) -> Ending {
    match status.code() {
        Some(0) => Ending::Done(last.filter(|v| v.get("event").and_then(Value::as_str) == Some("done"))),
        Some(3) => Ending::Interrupted,
        code => {
            let how = match (code, status.signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, Some(9)) => "killed (signal 9, perhaps out of memory)".into(),
                (None, Some(signal)) => format!("signal {signal} ended it"),
                (None, None) => "it ended without a status".into(),
            };
            let message = match last_words(log, began) {
                Some(words) if code.is_some() => words,
                Some(words) => format!("{how}; its last line was: {words}"),
                None => how,
            };
            Ending::Failed { message, code }
        }
    }
}

/// The last line with `error:` after byte `began` of the log, else the last line.
fn last_words(log: &Path, began: u64) -> Option<String> {
    let bytes = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(bytes.get(usize::try_from(began).ok()?..)?).into_owned();
    let lines = || text.lines().map(str::trim).filter(|l| !l.is_empty());
    let line = lines().rfind(|l| l.starts_with("error:")).or_else(|| lines().next_back())?;
    Some(line.trim_start_matches("error:").trim().to_owned())
}

/// Replaces this process by `program`, which gets SIGTERM when the process `parent` ends. So the training of a killed sweep
/// stops, too. Returns only on failure.
///
/// # Errors
/// When the parent has ended, or the program does not start.
pub fn guard(
    parent: u32,
    program: &Path,
    arguments: &[std::ffi::OsString],
) -> Result<std::convert::Infallible> {
    #[cfg(target_os = "linux")]
    {
        let arranged = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
        arranged.map_err(|e| Error::io("death signal", e.into()))?;
        let now = rustix::process::getppid().map(|p| p.as_raw_nonzero().get());
        if now.and_then(|p| u32::try_from(p).ok()) != Some(parent) {
            return Err(Error::Interrupted);
        }
    }
    Err(Error::io(program, Command::new(program).args(arguments).exec()))
}
