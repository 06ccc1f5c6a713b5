//! Ctrl-C and SIGTERM: a wish to stop that long work looks at between two steps.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};

use crate::error::{Error, Result};

/// A flag that SIGINT and SIGTERM raise; a second signal ends the process at once, with status 1.
///
/// # Errors
/// When the system does not let signals be caught.
pub fn stop() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .map_err(|e| Error::io("signals", e))?;
    }
    Ok(flag)
}
