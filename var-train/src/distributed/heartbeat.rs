//! Which ranks live: every rank counts up a key of the store twice a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::store::Store;

/// Time between two beats.
const INTERVAL: Duration = Duration::from_millis(500);
/// Time over which a rank must have shown at least one beat: five are due in it.
pub(super) const WINDOW: Duration = Duration::from_millis(2_600);

/// The key that rank `rank` counts up.
pub(super) fn key(rank: usize) -> String {
    format!("beat/{rank}")
}

/// A thread that shows this rank's life until it is dropped or the process ends.
#[derive(Debug)]
pub struct Heartbeat {
    stop: Arc<AtomicBool>,
}

impl Heartbeat {
    /// Begins to count for `rank` through `store`, a connection that nobody else uses: a call through it may
    /// hang, and then the thread is left behind.
    pub fn start(store: Store, rank: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        std::thread::spawn(move || {
            let key = key(rank);
            // A store that is gone is noticed by whoever needs it.
            while !flag.load(Ordering::Relaxed) && store.add(&key, 1).is_ok() {
                std::thread::sleep(INTERVAL);
            }
        });
        Self { stop }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
