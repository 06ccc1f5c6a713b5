//! Jobs of SLURM: a script for each program, and files that tell this process what became of it.
//!
//! The files of a job are in `slurm/` of the sweep folder: `NAME.sh`, `NAME.job` (its number), `NAME.events` (standard
//! output), `NAME.status` (exit status, written last) and `NAME.out` (messages of SLURM).

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use var_tokenizer::files::{make_folder, write_atomically};

use super::call::Call;
use super::child::{self, Ending};
use super::stop::Stop;
use crate::error::{Error, Result};

/// Starts the ranks of a training unless the user names another command. Without the flag, SLURM kills the other ranks
/// before they can say which one was lost.
const SRUN: [&str; 2] = ["srun", "--kill-on-bad-exit=0"];
/// Time between two looks at the files of a job.
const LOOK: Duration = Duration::from_millis(500);
/// Time between two questions to `squeue`.
const ASK: Duration = Duration::from_secs(30);
/// Number of times that `sbatch` is tried, with twice the waiting time after each.
const TRIES: u32 = 6;

/// SLURM, for one sweep.
#[derive(Debug)]
pub(super) struct Slurm {
    header: String,
    prefix: Vec<String>,
    folder: PathBuf,
}

impl Slurm {
    /// Reads the header, a file whose `#SBATCH` lines and commands start every script.
    pub(super) fn new(path: &Path, prefix: &[String], root: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        if !text.lines().any(|line| line.starts_with("#SBATCH")) {
            return Err(Error::file(
                path,
                "has no #SBATCH line; give the start of a batch script, for example `#SBATCH --nodes=1 --gpus-per-node=8`",
            ));
        }
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("#!")).collect();
        let prefix = if prefix.is_empty() { SRUN.map(str::to_owned).to_vec() } else { prefix.to_vec() };
        let folder = root.join("slurm");
        make_folder(&folder)?;
        Ok(Self { header: lines.join("\n"), prefix, folder })
    }

    fn file(&self, call: &Call, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", call.name.replace(' ', "-")))
    }

    /// Writes the script of a program. Returns its path.
    pub(super) fn render(&self, call: &Call) -> Result<PathBuf> {
        let path = |path: &Path| quoted([path.display().to_string().as_str()]);
        let file = |ending| path(&self.file(call, ending));
        let program = call.program.display().to_string();
        let prefix = self.prefix.iter().filter(|_| call.run.is_some());
        let arguments = call.arguments.iter().filter(|a| *a != "--resume");
        let mut command = quoted(prefix.chain([&program]).chain(arguments).map(String::as_str))?;
        let (status, events, log) = (file("status")?, file("events")?, path(&call.log)?);
        let mut script = format!(
            "#!/bin/bash\n#SBATCH --job-name={}\n#SBATCH --output={}\n#SBATCH --open-mode=append\n{}\nrm -f {status}\n",
            call.name.replace(' ', "-"),
            self.file(call, "out").display(),
            self.header
        );
        if let Some(run) = &call.run {
            // The job may start again, after SLURM requeued it.
            let config = path(&run.join("config.toml"))?;
            script.push_str(&format!("resume=\n[ -e {config} ] && resume=--resume\n"));
            command.push_str(" $resume");
        }
        script.push_str(&format!("{command} >>{events} 2>>{log}\n"));
        script.push_str(&format!("echo $? >{status}.new && mv {status}.new {status}\n"));
        let out = self.file(call, "sh");
        write_atomically(&out, script.as_bytes())?;
        Ok(out)
    }

    /// Submits a program, or finds the job of an earlier call, which may have ended since.
    pub(super) fn submit(&self, call: &Call, stop: &Stop) -> Result<SlurmJob> {
        let (job, status, events) =
            (self.file(call, "job"), self.file(call, "status"), self.file(call, "events"));
        let earlier = std::fs::read_to_string(&job).ok().map(|text| text.trim().to_owned());
        let number = match earlier {
            Some(number) if status.exists() || queued(&number) != Some(false) => number,
            _ => {
                let script = self.render(call)?;
                for old in [&status, &events] {
                    match std::fs::remove_file(old) {
                        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(old, e)),
                        _ => {}
                    }
                }
                let number = sbatch(&script, stop)?;
                write_atomically(&job, format!("{number}\n").as_bytes())?;
                number
            }
        };
        let began = std::fs::metadata(&call.log).map_or(0, |data| data.len());
        Ok(SlurmJob {
            name: call.name.clone(),
            number,
            job,
            status,
            events,
            read: 0,
            last: None,
            log: call.log.clone(),
            began,
            looked: Instant::now(),
            asked: Instant::now(),
            gone: false,
        })
    }
}

/// A job in the queue of SLURM.
#[derive(Debug)]
pub(super) struct SlurmJob {
    name: String,
    number: String,
    /// The file with its number; gone once its ending is known.
    job: PathBuf,
    status: PathBuf,
    events: PathBuf,
    /// Bytes of the events that were read.
    read: u64,
    last: Option<Value>,
    log: PathBuf,
    began: u64,
    looked: Instant,
    asked: Instant,
    /// Whether the last question found no job.
    gone: bool,
}

impl SlurmJob {
    /// Passes on the new events. Returns the ending once the job has written its status, or has left the queue without.
    /// After a signal, leaves the job alone.
    pub(super) fn poll(
        &mut self,
        stop: &Stop,
        on_event: &mut dyn FnMut(Option<&Value>),
    ) -> Result<Option<Ending>> {
        if stop.count() > 0 {
            return Ok(Some(Ending::Interrupted));
        }
        if self.looked.elapsed() < LOOK {
            return Ok(None);
        }
        self.looked = Instant::now();
        // The status first: all events are older.
        let status = std::fs::read_to_string(&self.status).ok();
        self.pass_on(on_event);
        if let Some(status) = status {
            self.forget()?;
            let code = status.trim().parse::<i32>().unwrap_or(1);
            // A shell adds 128 to the number of a signal.
            let (code, signal) = if code > 128 { (None, Some(code - 128)) } else { (Some(code), None) };
            return Ok(Some(child::ending(code, signal, self.last.take(), &self.log, self.began)));
        }
        if self.asked.elapsed() >= ASK {
            self.asked = Instant::now();
            let gone = queued(&self.number) == Some(false);
            // It may have ended between the two looks.
            if gone && self.gone && !self.status.exists() {
                self.forget()?;
                let message = format!(
                    "job {} left the queue without a status: it was cancelled, or its node failed",
                    self.number
                );
                return Ok(Some(Ending::Failed { message, code: None }));
            }
            self.gone = gone;
        }
        Ok(None)
    }

    /// The next call submits a new job.
    fn forget(&self) -> Result<()> {
        match std::fs::remove_file(&self.job) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&self.job, e)),
            _ => Ok(()),
        }
    }

    fn pass_on(&mut self, on_event: &mut dyn FnMut(Option<&Value>)) {
        let mut new = Vec::new();
        // The file may not exist yet.
        let _ = File::open(&self.events).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.read))?;
            file.read_to_end(&mut new)
        });
        let Some(end) = new.iter().rposition(|b| *b == b'\n') else { return on_event(None) };
        for line in new.get(..end).unwrap_or_default().split(|b| *b == b'\n') {
            if let Ok(event) = serde_json::from_slice::<Value>(line) {
                on_event(Some(&event));
                self.last = Some(event);
            }
        }
        self.read += end as u64 + 1;
    }

    /// What the user should know after a signal.
    pub(super) fn goes_on(&self) -> String {
        format!("{}: job {} goes on; `scancel {}` stops it", self.name, self.number, self.number)
    }
}

/// Submits a script, and returns the number of its job.
fn sbatch(script: &Path, stop: &Stop) -> Result<String> {
    let mut wait = Duration::from_secs(1);
    let mut message = String::new();
    for _ in 0..TRIES {
        let output = Command::new("sbatch").arg("--parsable").arg(script).stdin(Stdio::null()).output();
        let output = output.map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => {
                Error::config("sbatch is not on this machine; start the sweep where jobs are submitted")
            }
            _ => Error::io("sbatch", e),
        })?;
        if output.status.success() {
            // With several clusters: NUMBER;CLUSTER.
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            return Ok(text.trim().split(';').next().unwrap_or_default().to_owned());
        }
        message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let until = Instant::now() + wait;
        while Instant::now() < until {
            stop.check()?;
            std::thread::sleep(child::POLL);
        }
        wait *= 2;
    }
    Err(Error::Stage { what: format!("sbatch {}", script.display()), message, code: 1, log: None })
}

/// Whether a job is in the queue; `None` if `squeue` does not answer.
fn queued(number: &str) -> Option<bool> {
    let output = Command::new("squeue")
        .args(["--noheader", "--format=%T", "--jobs", number])
        .stdin(Stdio::null())
        .output()
        .ok()?;
    if output.status.success() {
        return Some(!output.stdout.trim_ascii().is_empty());
    }
    // SLURM forgets a job some minutes after its end.
    String::from_utf8_lossy(&output.stderr).contains("Invalid job id").then_some(false)
}

/// Words for a shell.
fn quoted<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<String> {
    shlex::try_join(words).map_err(|e| Error::config(format!("no batch script can have this command: {e}")))
}
