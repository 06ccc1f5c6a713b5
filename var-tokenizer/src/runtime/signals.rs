//! Signals that ask to stop: a wish that long work looks at between two steps.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, LazyLock};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use crate::runtime::error::{Error, Result};

/// The signals that ask a program to save and stop: SIGINT, SIGTERM, and SIGHUP (a terminal was closed) unless the
/// program was started to outlive its terminal, as `nohup` does.
pub fn asking_to_stop() -> Vec<i32> {
    let mut signals = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    signals
}

/// Raised with the flags of all callers of [`stop`].
static ASKED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Whether a signal asked to stop, for work that has no flag at hand. Always false if nothing called [`stop`]: then the
/// signal ends the process.
pub(crate) fn asked_to_stop() -> bool {
    ASKED.load(Ordering::Relaxed)
}

/// A flag that these signals raise. A second SIGINT or SIGTERM ends the process at once, with status 1; SIGHUP does
/// not, because a closed terminal may send it twice.
///
/// # Errors
/// When the system does not let signals be caught.
pub fn stop() -> Result<Arc<AtomicBool>> {
    let (flag, twice) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let failed = |e| Error::io("signals", e);
    for signal in asking_to_stop() {
        if signal != SIGHUP {
            signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&twice))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&twice)))
                .map_err(failed)?;
        }
        for raised in [&flag, &ASKED] {
            signal_hook::flag::register(signal, Arc::clone(raised)).map_err(failed)?;
        }
    }
    Ok(flag)
}

/// The signals that the programs catch.
const CAUGHT: [i32; 4] = [SIGINT, SIGTERM, SIGHUP, SIGUSR1];
/// Name of the thread that signals come to.
const THREAD: &str = "signals";

/// Lets signals come to one thread that does nothing else. Threads that the calling one starts from now on get none;
/// so this comes before there are others.
///
/// oneDNN's f32 products, as libtorch 2.11 has them, point the stack pointer into the heap while they run. The
/// kernel puts what a signal handler returns to below it: a signal that came to such a thread overwrote memory of
/// others, and the program crashed soon after, at about one Ctrl-C in 25
/// (<https://github.com/uxlfoundation/oneDNN/issues/4845>).
pub(crate) fn to_a_thread_of_their_own() {
    let (ready, wait) = channel();
    let listen = move || {
        mask(libc::SIG_UNBLOCK);
        let _ = ready.send(());
        loop {
            std::thread::park();
        }
    };
    // Without such a thread signals come as before.
    if std::thread::Builder::new().name(THREAD.into()).stack_size(1 << 18).spawn(listen).is_ok() {
        let _ = wait.recv();
        mask(libc::SIG_BLOCK);
    }
}

/// Blocks or lets through what the programs catch, in this thread and those that it starts.
fn mask(how: i32) {
    let mut signals = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is made empty before anything is added, and outlives the call.
    unsafe {
        libc::sigemptyset(signals.as_mut_ptr());
        for signal in CAUGHT {
            libc::sigaddset(signals.as_mut_ptr(), signal);
        }
        libc::pthread_sigmask(how, signals.as_ptr(), std::ptr::null_mut());
    }
}

/// Whether this process was started with `signal` ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}
