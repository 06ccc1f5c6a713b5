//! One child process: its JSON events, its log, and its end.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::stop::Stop;
use crate::error::{Error, Result};

/// The hidden subcommand that runs a child which ends with this program, see [`guard`].
pub const GUARD: &str = "run-guarded";

/// Time between two looks at a running program.
pub(crate) const POLL: Duration = Duration::from_millis(20);

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

/// A program that runs. It gets SIGTERM when this value goes.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    program: PathBuf,
    events: Receiver<Value>,
    reader: Option<JoinHandle<()>>,
    last: Option<Value>,
    /// Number of signals when the program got SIGTERM.
    told: Option<usize>,
    killed: bool,
    log: PathBuf,
    /// Bytes of the log that earlier programs wrote.
    began: u64,
    ended: bool,
}

impl Child {
    /// Starts `program` with `arguments` and more variables of the environment. Appends its standard error to `log`.
    ///
    /// # Errors
    /// When the program cannot be started or the log cannot be written.
    pub(crate) fn start(
        program: &Path,
        arguments: &[String],
        environment: &[(&str, String)],
        log: &Path,
    ) -> Result<Self> {
        let fail = |e| Error::io(log, e);
        let file = OpenOptions::new().create(true).append(true).open(log).map_err(fail)?;
        let began = file.metadata().map_err(fail)?.len();
        let own = std::env::current_exe().map_err(|e| Error::io("own executable", e))?;
        let mut process = Command::new(own)
            .arg(GUARD)
            .arg(std::process::id().to_string())
            .arg(program)
            .args(arguments)
            .envs(environment.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file)
            // Ctrl-C in the terminal reaches only this process, which sends one signal to the child.
            .process_group(0)
            .spawn()
            .map_err(|e| Error::io(program, e))?;
        let (sender, events) = channel::<Value>();
        let output = process.stdout.take();
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
        Ok(Self {
            process,
            program: program.to_owned(),
            events,
            reader: Some(reader),
            last: None,
            told: None,
            killed: false,
            log: log.to_owned(),
            began,
            ended: false,
        })
    }

    /// Passes on the new events, or none if there are none. Returns the ending after the last event. The first signal
    /// sends SIGTERM to the program, which then saves; the second kills it.
    ///
    /// # Errors
    /// When the system does not tell whether the program runs.
    pub(crate) fn poll(
        &mut self,
        stop: &Stop,
        on_event: &mut dyn FnMut(Option<&Value>),
    ) -> Result<Option<Ending>> {
        let mut quiet = true;
        while let Ok(event) = self.events.try_recv() {
            on_event(Some(&event));
            self.last = Some(event);
            quiet = false;
        }
        if quiet {
            on_event(None);
        }
        match self.told {
            None if stop.count() > 0 => {
                self.told = Some(stop.count());
                self.tell(Signal::TERM);
            }
            Some(count) if !self.killed && stop.count() > count => {
                self.killed = true;
                self.tell(Signal::KILL);
            }
            _ => {}
        }
        let Some(status) = self.process.try_wait().map_err(|e| Error::io(&self.program, e))? else {
            return Ok(None);
        };
        self.ended = true;
        // The pipe may still have events of the program.
        let _ = self.reader.take().map(JoinHandle::join);
        for event in self.events.try_iter() {
            on_event(Some(&event));
            self.last = Some(event);
        }
        Ok(Some(ending(status.code(), status.signal(), self.last.take(), &self.log, self.began)))
    }

    fn tell(&self, signal: Signal) {
        // The program may have ended.
        if let Some(pid) = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.ended {
            self.tell(Signal::TERM);
        }
    }
}

/// Runs `program` with `arguments` until it ends, and passes on its events; see [`Child`].
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
    let mut child = Child::start(program, arguments, &[], log)?;
    loop {
        if let Some(ending) = child.poll(stop, on_event)? {
            return Ok(ending);
        }
        std::thread::sleep(POLL);
    }
}

/// How a program ended: its exit status, or the signal that ended it; its last event; the log from byte `began` on.
pub(super) fn ending(
    code: Option<i32>,
    signal: Option<i32>,
    last: Option<Value>,
    log: &Path,
    began: u64,
) -> Ending {
    match code {
        Some(0) => Ending::Done(last.filter(|v| v.get("event").and_then(Value::as_str) == Some("done"))),
        Some(3) => Ending::Interrupted,
        code => {
            let how = match (code, signal) {
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
