//! Ends a rank whose GPU waits for a lost rank.
//!
//! With Gloo, a collective fails when another rank is lost. With NCCL it never returns: the GPU waits, and the program waits
//! for the GPU. A thread of its own reads the heartbeats, and ends the process after it named the lost rank.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use var_tokenizer::progress::tell;

use super::ending::end;
use super::failure::Watch;
use crate::error::Error;

/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// A rank without a heartbeat for this time is lost: it is due every half second.
const SILENT: Duration = Duration::from_secs(10);
/// Time for the main thread to end by itself after the guard has found a lost rank.
const GRACE: Duration = Duration::from_secs(5);

/// A thread that watches the heartbeats until it is dropped.
#[derive(Debug)]
pub(super) struct Guard {
    stop: Arc<AtomicBool>,
}

impl Guard {
    /// Starts to watch the other ranks through `watch`, a connection of its own.
    pub(super) fn start(watch: Watch) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        std::thread::spawn(move || {
            let stopped = || flag.load(Ordering::Relaxed);
            let mut beats = Beats::new();
            let lost = loop {
                sleep(PAUSE);
                match beats.look(&watch, Instant::now()) {
                    _ if stopped() => return,
                    Some(lost) => break lost,
                    None => {}
                }
            };
            sleep(GRACE);
            if !stopped() {
                tell(format_args!("error: {lost}"));
                end(lost.exit_code());
            }
        });
        Self { stop }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Heartbeats as last seen: their count, and since when it is the same.
struct Beats(Vec<(Option<i64>, Instant)>);

impl Beats {
    fn new() -> Self {
        Self(Vec::new())
    }

    /// What is lost, as seen at `now`.
    fn look(&mut self, watch: &Watch, now: Instant) -> Option<Error> {
        let counts = match watch.others() {
            Ok(counts) => counts,
            Err(lost) => return Some(lost),
        };
        if self.0.is_empty() {
            self.0 = counts.iter().map(|(_, count)| (*count, now)).collect();
        }
        let mut silent = Vec::new();
        for ((count, since), (rank, found)) in self.0.iter_mut().zip(counts) {
            if *count != found {
                (*count, *since) = (found, now);
            } else if found.is_some() && now.duration_since(*since) >= SILENT {
                silent.push(rank);
            }
        }
        if silent.is_empty() { None } else { Some(watch.lost(&silent)) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::failure::tests::first_of_three;
    use super::super::heartbeat::Heartbeat;
    use super::*;

    #[test]
    fn a_rank_that_stops_to_beat_is_found_after_its_time_and_named() {
        let (store, watch) = first_of_three();
        let began = Instant::now();
        let mut beats = Beats::new();
        let _first = Heartbeat::start(store.another().unwrap(), 1);
        assert!(beats.look(&watch, began).is_none());
        sleep(Duration::from_millis(1200));
        assert!(beats.look(&watch, began + SILENT / 2).is_none(), "rank 2 has half of its time left");
        sleep(Duration::from_millis(1200));
        let lost = beats.look(&watch, began + SILENT).unwrap();
        assert!(lost.to_string().starts_with("rank 2 does not answer (killed"), "{lost}");
        assert_eq!(lost.exit_code(), 4);
    }

    #[test]
    fn a_rank_that_left_is_not_missed_and_one_that_failed_is_quoted() {
        let (store, watch) = first_of_three();
        let began = Instant::now();
        let mut beats = Beats::new();
        for rank in [1, 2] {
            store.set(&format!("left/{rank}"), "").unwrap();
        }
        assert!(beats.look(&watch, began).is_none() && beats.look(&watch, began + 2 * SILENT).is_none());
        store.set("failed", "rank 1 failed: no memory").unwrap();
        assert_eq!(beats.look(&watch, began).unwrap().to_string(), "rank 1 failed: no memory");
    }
}
