//! Signals that ask this program to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::SIGHUP;
use signal_hook::iterator::Signals;
use var_tokenizer::signals::asking_to_stop;

use crate::error::{Error, Result};

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
