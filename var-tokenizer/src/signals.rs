//! Signals that ask to stop: a wish that long work looks at between two steps.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// The signals that ask a program to save and stop: SIGINT, SIGTERM, and SIGHUP (a terminal was closed) unless the
/// program was started to outlive its terminal, as `nohup` does.
pub fn asking_to_stop() -> Vec<i32> {
    let mut signals = vec![SIGINT, SIGTERM];
    if !is_ignored(SIGHUP) {
        signals.push(SIGHUP);
    }
    signals
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
        signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(failed)?;
    }
    Ok(flag)
}

/// Whether this process was started with `signal` ignored.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}
