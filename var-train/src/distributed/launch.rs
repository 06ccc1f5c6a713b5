//! The launcher: starts the program several times on this machine, as ranks.

use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::SIGUSR1;
use signal_hook::iterator::Signals;
use var_tokenizer::progress::tell;
use var_tokenizer::signals::asking_to_stop;

use super::ffi;
use super::store::Store;
use crate::error::{Error, Result};

/// Set for a rank: the process number of the program that started it.
const LAUNCHER: &str = "VAR_LAUNCHER";
/// Exit status of a rank that ended because another one did.
const FOLLOWED: i32 = 4;
/// Time that ranks have to end by themselves after one has failed: to find the cause, to finish a checkpoint.
const GRACE: Duration = Duration::from_secs(10);
/// Time for the last lines of their logs.
const LAST_LINES: Duration = Duration::from_secs(2);
/// Only this machine can reach the ranks.
const ADDRESS: &str = "127.0.0.1";

/// A rank that runs, and how it ended.
struct Rank {
    child: Child,
    ended: Option<ExitStatus>,
    killed: bool,
    log: Option<JoinHandle<()>>,
}

/// Starts this program with its own arguments as `count` ranks, and waits for them. Puts `[rank] ` before their lines on
/// standard error; they share standard output. Passes SIGUSR1 and the signals that ask to stop to every rank. When a rank
/// fails, the others have 10 s to end.
///
/// Gives the exit status: 0, or that of the first rank that failed by itself.
///
/// # Errors
/// When a rank cannot be started.
pub fn launch(count: usize) -> Result<u8> {
    ffi::quiet();
    let system = |what: &'static str| move |e| Error::io(what, e);
    let mut signals =
        Signals::new(asking_to_stop().into_iter().chain([SIGUSR1])).map_err(system("signals"))?;
    // Served here, not by rank 0: the store outlives every rank.
    let store = Store::serve(ADDRESS, 0, Duration::from_secs(30))?;
    let mut ranks: Vec<Rank> = Vec::with_capacity(count);
    for rank in 0..count {
        match start(rank, count, store.port()) {
            Ok(child) => ranks.push(child),
            Err(e) => {
                ranks.iter_mut().for_each(|rank| drop(rank.child.kill()));
                return Err(Error::io("a rank", e));
            }
        }
    }
    let mut causes = Vec::new();
    let mut deadline: Option<Instant> = None;
    while ranks.iter().any(|rank| rank.ended.is_none()) {
        for signal in signals.pending() {
            let named = Signal::from_named_raw(signal).unwrap_or(Signal::TERM);
            ranks.iter().filter(|rank| rank.ended.is_none()).for_each(|rank| send(&rank.child, named));
        }
        for (number, rank) in ranks.iter_mut().enumerate().filter(|(_, rank)| rank.ended.is_none()) {
            rank.ended = rank.child.try_wait().map_err(system("a rank"))?;
            let Some(status) = rank.ended.filter(|status| !status.success() && !rank.killed) else {
                continue;
            };
            deadline.get_or_insert_with(|| Instant::now() + GRACE);
            if let Some(signal) = status.signal() {
                tell(format_args!("error: rank {number} was ended by signal {signal}"));
            }
            causes.extend(Some(status.code().unwrap_or(1)).filter(|code| *code != FOLLOWED));
        }
        if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            for (number, rank) in ranks.iter_mut().enumerate().filter(|(_, rank)| rank.ended.is_none()) {
                if !rank.killed {
                    tell(format_args!("error: rank {number} does not end; killing it"));
                }
                rank.killed = true;
                send(&rank.child, Signal::KILL);
            }
        }
        sleep(Duration::from_millis(20));
    }
    let until = Instant::now() + LAST_LINES;
    for log in ranks.iter_mut().filter_map(|rank| rank.log.take()) {
        while !log.is_finished() && Instant::now() < until {
            sleep(Duration::from_millis(5));
        }
    }
    let failed = deadline.map(|_| causes.first().copied().unwrap_or(1));
    Ok(failed.map_or(0, |code| u8::try_from(code).unwrap_or(1)))
}

fn start(rank: usize, count: usize, port: u16) -> std::io::Result<Rank> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(std::env::args_os().skip(1))
        .env(LAUNCHER, std::process::id().to_string())
        .env("RANK", rank.to_string())
        .env("LOCAL_RANK", rank.to_string())
        .env("WORLD_SIZE", count.to_string())
        .env("MASTER_ADDR", ADDRESS)
        .env("MASTER_PORT", port.to_string())
        .env("TORCHELASTIC_USE_AGENT_STORE", "True")
        .env_remove("TORCHELASTIC_RESTART_COUNT")
        .env_remove("GLOO_SOCKET_IFNAME");
    if ["VAR_THREADS", "OMP_NUM_THREADS"].iter().all(|name| std::env::var_os(name).is_none()) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        command.env("OMP_NUM_THREADS", (cores / count).max(1).to_string());
    }
    // Ctrl-C at the terminal reaches only the launcher, which tells every rank once.
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).process_group(0).spawn()?;
    let lines = child.stderr.take();
    let log = std::thread::spawn(move || {
        for line in
            lines.into_iter().flat_map(|lines| BufReader::new(lines).split(b'\n')).map_while(|l| l.ok())
        {
            tell(format_args!("[{rank}] {}", String::from_utf8_lossy(&line)));
        }
    });
    Ok(Rank { child, ended: None, killed: false, log: Some(log) })
}

fn send(child: &Child, signal: Signal) {
    // A child that has ended needs no signal.
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Whether this process was started by [`launch`]. If so, it gets SIGTERM when the launcher dies.
///
/// # Errors
/// When the launcher has already ended.
pub fn is_launched() -> Result<bool> {
    let Ok(launcher) = std::env::var(LAUNCHER) else { return Ok(false) };
    #[cfg(target_os = "linux")]
    {
        let arranged = rustix::process::set_parent_process_death_signal(Some(Signal::TERM));
        arranged.map_err(|e| Error::io("death signal", e.into()))?;
        let parent = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().to_string());
        if parent.as_deref() != Some(launcher.as_str()) {
            return Err(Error::Rank("the program that started the ranks is gone".into()));
        }
    }
    Ok(true)
}
