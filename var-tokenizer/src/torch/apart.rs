//! A piece of work in a copy of this process, whose crash costs nothing but the piece of work.
#![allow(unsafe_code)]

use std::io::{Error, ErrorKind, Result};

/// How work that was done apart came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// It returned.
    Returned,
    /// It died of a signal, a panic, or for want of memory.
    Crashed,
    /// It computed for too long without a sign of life.
    Hung,
}

/// Signs of life of work that goes on apart.
pub(crate) struct Pulse(u64);

impl Pulse {
    /// Says that the work goes on: it has its full time again from here.
    pub(crate) fn beat(&mut self) {
        // SAFETY: asks for this process's own account, and sets a limit of it.
        unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &mut usage);
            let used = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) as u64;
            // Whole seconds that were begun count.
            let limit = libc::rlimit { rlim_cur: used + 1 + self.0, rlim_max: libc::RLIM_INFINITY };
            libc::setrlimit(libc::RLIMIT_CPU, &limit);
        }
    }
}

/// Does `work` in a copy of this process, which is ended when it has computed for `seconds` without a
/// beat; waiting for a disk does not count. The work may read files and take memory. Locks that other
/// threads hold stay locked in the copy for ever: `fork_under` must hold those that `work` needs.
///
/// # Errors
/// When the system has no process to give.
pub(crate) fn apart(
    seconds: u64,
    fork_under: impl FnOnce(&dyn Fn() -> libc::pid_t) -> libc::pid_t,
    work: impl FnOnce(&mut Pulse),
) -> Result<End> {
    // SAFETY: the copy runs `work` alone, and leaves by `_exit`; its locks are the caller's care.
    match fork_under(&|| unsafe { libc::fork() }) {
        -1 => Err(Error::last_os_error()),
        0 => {
            die_quietly();
            let mut pulse = Pulse(seconds);
            pulse.beat();
            let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&mut pulse)));
            // SAFETY: ends the copy at once: nothing of the original may be flushed or dropped here.
            unsafe { libc::_exit(i32::from(outcome.is_err())) }
        }
        child => end_of(child),
    }
}

/// In the copy: its crash goes to no handler, core file or terminal.
fn die_quietly() {
    use libc::{SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTERM, SIGXCPU};
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: sets limits and dispositions of this process, from which only `_exit` follows.
    unsafe {
        libc::setrlimit(libc::RLIMIT_CORE, &none);
        for signal in [SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGTERM, SIGXCPU] {
            libc::signal(signal, libc::SIG_DFL);
        }
        // Without the original there is nobody to tell.
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY);
        libc::dup2(null, libc::STDERR_FILENO);
    }
}

fn end_of(child: libc::pid_t) -> Result<End> {
    let mut status = 0;
    // SAFETY: waits for the process that `apart` made, and for no other.
    while unsafe { libc::waitpid(child, &mut status, 0) } == -1 {
        let e = Error::last_os_error();
        if e.kind() != ErrorKind::Interrupted {
            return Err(e);
        }
    }
    Ok(if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 {
        End::Returned
    } else if libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGXCPU {
        End::Hung
    } else {
        End::Crashed
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tried(work: impl FnOnce(&mut Pulse)) -> End {
        apart(1, |fork| fork(), work).unwrap()
    }

    #[test]
    fn work_apart_returns_crashes_or_hangs_and_nothing_happens_here() {
        assert_eq!(tried(|_| {}), End::Returned);
        assert_eq!(tried(|_| std::process::abort()), End::Crashed);
        assert_eq!(tried(|_| panic!("apart")), End::Crashed);
        let busy = |pulse: Option<&mut Pulse>| {
            let (begin, mut pulse) = (std::time::Instant::now(), pulse);
            while pulse.is_none() || begin.elapsed().as_secs() < 3 {
                if let Some(pulse) = &mut pulse {
                    pulse.beat();
                }
            }
        };
        assert_eq!(tried(|_| busy(None)), End::Hung);
        assert_eq!(tried(|pulse| busy(Some(pulse))), End::Returned);
    }
}
