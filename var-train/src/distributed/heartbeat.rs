//! Heartbeats: every rank increments its key in the store twice per second.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::store::Store;

/// Time between two beats.
const INTERVAL: Duration = Duration::from_millis(500);
/// A living rank beats at least once in this time; five beats are due in it.
pub(super) const WINDOW: Duration = Duration::from_millis(2_600);

/// The key of rank `rank`.
pub(super) fn key(rank: usize) -> String {
    format!("beat/{rank}")
}

/// A thread that beats until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    stop: Arc<AtomicBool>,
}

impl Heartbeat {
    /// Starts to beat for `rank` through `store`, a connection of its own: a call through it may hang, and then the thread
    /// stays behind.
    pub(crate) fn start(store: Store, rank: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        std::thread::spawn(move || {
            let key = key(rank);
            // Other calls notice a lost store.
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
