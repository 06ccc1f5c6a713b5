//! After a failure: finds the rank that caused it, and tells the other ranks when this one leaves.

use std::thread::sleep;
use std::time::{Duration, Instant};

use super::heartbeat::{WINDOW, key as beat};
use super::join::names;
use super::place::Place;
use super::store::Messages;
use crate::error::{Error, Result};

/// Time to look for a rank without a heartbeat. After it, ranks that have not noticed the failure count as busy.
const SEARCH: Duration = Duration::from_secs(10);
/// Time to wait until the other ranks have left.
const GOODBYE: Duration = Duration::from_secs(15);
/// A rank 0 without a heartbeat for this time is lost.
const LEADER_SILENT: Duration = Duration::from_secs(10);
/// Pause between two reads of a key.
const PAUSE: Duration = Duration::from_millis(100);

/// Key of the message of the first rank that failed by itself.
const FAILED: &str = "failed";
/// Key that counts ranks that failed by themselves.
const FAILURES: &str = "failures";
/// Key of the first finding about the cause.
const FOUND: &str = "found";
/// Key that counts ranks that reached the end.
const TOGETHER: &str = "together";
/// Key that counts ranks that no longer need the store.
const GONE: &str = "gone";

/// Key that exists once rank `rank` has noticed a failure.
fn looking(rank: usize) -> String {
    format!("looking/{rank}")
}

/// Why a rank leaves.
#[derive(Debug, PartialEq)]
pub(super) enum Leaving {
    /// All ranks end here, as planned.
    Together,
    /// Another rank is lost.
    After,
    /// Something failed on this rank.
    Failed(String),
}

/// Watches the other ranks.
#[derive(Debug)]
pub(super) struct Watch {
    messages: Messages,
    place: Place,
}

impl Watch {
    pub(crate) fn new(messages: Messages, place: &Place) -> Self {
        Self { messages, place: place.clone() }
    }

    /// The value under `key`, or `None`.
    pub(crate) fn get(&self, key: &str) -> Result<Option<String>> {
        self.messages.get(key).map_err(|e| self.store_gone(&e))
    }

    /// Stores `value` under `key`.
    pub(crate) fn set(&self, key: &str, value: &str) -> Result<()> {
        self.messages.set(key, value).map_err(|e| self.store_gone(&e))
    }

    /// The error for a lost store.
    fn store_gone(&self, error: &Error) -> Error {
        let Place { rank, address, port, hosted, .. } = &self.place;
        Error::Rank(match (hosted, rank) {
            (false, 1..) => format!(
                "rank 0 does not answer (killed, stopped, or rank {rank} is cut off from it); resume the run"
            ),
            _ => format!(
                "the store at {address}:{port} does not answer ({error}): the program that started the ranks has \
                 ended, or this rank is cut off; resume the run"
            ),
        })
    }

    /// The cause of `error`, a broken connection: a rank that told its failure; otherwise the ranks without a heartbeat;
    /// otherwise the ranks that are alive but busy and have not noticed anything. Takes some seconds: reads the
    /// heartbeats twice, with a pause.
    pub(crate) fn explain(&self, error: Error) -> Error {
        self.search(&error).unwrap_or_else(|e| e)
    }

    fn search(&self, error: &Error) -> Result<Error> {
        self.set(&looking(self.place.rank), "")?;
        let until = Instant::now() + SEARCH;
        while Instant::now() < until {
            if let Some(found) = self.look()? {
                return Ok(found);
            }
        }
        let mut busy = Vec::new();
        for rank in (0..self.place.world).filter(|rank| *rank != self.place.rank) {
            if self.get(&looking(rank))?.is_none() {
                busy.push(rank);
            }
        }
        Ok(if busy.is_empty() {
            Error::Distributed(format!(
                "the connection between the ranks broke ({error}), but all ranks are alive; check the network, \
                 then resume the run"
            ))
        } else {
            Error::Rank(format!(
                "{} did not come in time, but is alive; find out what delays it, or give a longer timeout; then \
                 resume the run",
                names(&busy)
            ))
        })
    }

    fn look(&self) -> Result<Option<Error>> {
        let before = self.beats()?;
        let until = Instant::now() + WINDOW;
        while Instant::now() < until {
            if let Some(message) = self.get(FAILED)? {
                return Ok(Some(Error::Rank(message)));
            }
            if let Some(message) = self.get(FOUND)? {
                return Ok(Some(Error::Rank(message)));
            }
            sleep(PAUSE);
        }
        let mut left = Vec::new();
        let mut silent = Vec::new();
        for (rank, (before, after)) in before.into_iter().zip(self.beats()?).enumerate() {
            if rank == self.place.rank {
                continue;
            }
            if self.get(&format!("left/{rank}"))?.is_some() {
                left.push(rank);
            } else if before == after {
                silent.push(rank);
            }
        }
        if !silent.is_empty() {
            return Ok(Some(self.lost(&silent)));
        }
        if left.len() + 1 == self.place.world {
            return Ok(Some(Error::Rank(format!(
                "{} ended because rank {} did not answer in time; resume the run",
                names(&left),
                self.place.rank
            ))));
        }
        Ok(None)
    }

    /// That ranks have no heartbeat. Tells the others, which need not look again.
    pub(super) fn lost(&self, silent: &[usize]) -> Error {
        let message = format!(
            "{} {} not answer (killed, stopped or cut off); resume the run, with fewer ranks if necessary",
            names(silent),
            if silent.len() == 1 { "does" } else { "do" }
        );
        self.set(FOUND, &message).err().unwrap_or(Error::Rank(message))
    }

    /// Heartbeats of the other ranks; `None` for one that has left.
    ///
    /// # Errors
    /// [`Error::Rank`] when one told its failure, or the store is lost.
    pub(super) fn others(&self) -> Result<Vec<(usize, Option<i64>)>> {
        if let Some(message) = self.get(FAILED)? {
            return Err(Error::Rank(message));
        }
        let mut beats = Vec::new();
        for (rank, count) in
            self.beats()?.into_iter().enumerate().filter(|(rank, _)| *rank != self.place.rank)
        {
            let left = self.get(&format!("left/{rank}"))?.is_some();
            beats.push((rank, (!left).then_some(count)));
        }
        Ok(beats)
    }

    /// Heartbeats so far, by rank.
    fn beats(&self) -> Result<Vec<i64>> {
        (0..self.place.world).map(|rank| self.count(&beat(rank), 0)).collect()
    }

    fn count(&self, key: &str, amount: i64) -> Result<i64> {
        self.messages.add(key, amount).map_err(|e| self.store_gone(&e))
    }

    /// Watches rank 0 while this rank waits for its message.
    pub(crate) fn leader(&self) -> Leader<'_> {
        let now = Instant::now();
        Leader { watch: self, beats: -1, changed: now, looked: now }
    }

    /// Tells the other ranks that this one leaves, and why. Does nothing when the store is lost.
    pub(crate) fn say_goodbye(&self, leaving: &Leaving) {
        let own = self.place.rank;
        let said = (|| -> Result<()> {
            match leaving {
                Leaving::Together => {
                    self.count(TOGETHER, 1)?;
                }
                Leaving::Failed(message) => {
                    // The first failure is the cause.
                    if self.count(FAILURES, 1)? == 1 {
                        self.set(FAILED, &format!("rank {own} failed: {message}"))?;
                    }
                }
                Leaving::After => {}
            }
            self.set(&format!("left/{own}"), "")
        })();
        let _ = said;
    }

    /// Waits as long as another rank may need this one: until the last collective ends, and on the rank that serves the
    /// store until no rank needs it.
    pub(crate) fn linger(&self, leaving: &Leaving) {
        let until = Instant::now() + GOODBYE;
        let world = self.place.world as i64;
        if *leaving == Leaving::Together {
            self.wait(until, || Ok(self.count(TOGETHER, 0)? >= world));
        }
        let serves = self.place.rank == 0 && !self.place.hosted;
        if !serves {
            let _ = self.count(GONE, 1);
            return;
        }
        let Ok(mut before) = self.beats() else { return };
        let mut looked = Instant::now();
        self.wait(until, || {
            if self.count(GONE, 0)? + 1 >= world {
                return Ok(true);
            }
            if looked.elapsed() < WINDOW {
                return Ok(false);
            }
            // A rank without a heartbeat does not need the store either.
            let (after, mut waiting) = (self.beats()?, 0);
            for (rank, (before, after)) in before.iter().zip(&after).enumerate().skip(1) {
                let left = self.get(&format!("left/{rank}"))?.is_some();
                waiting += i32::from(before != after && !left);
            }
            (before, looked) = (after, Instant::now());
            Ok(waiting == 0)
        });
    }

    fn wait(&self, until: Instant, mut done: impl FnMut() -> Result<bool>) {
        while Instant::now() < until && matches!(done(), Ok(false)) {
            sleep(PAUSE / 5);
        }
    }
}

/// A wait for rank 0 that ends when rank 0 ends.
pub(super) struct Leader<'a> {
    watch: &'a Watch,
    beats: i64,
    changed: Instant,
    looked: Instant,
}

impl Leader<'_> {
    /// Checks once per second that rank 0 is alive.
    ///
    /// # Errors
    /// [`Error::Rank`] when it failed or has no heartbeat.
    pub(crate) fn check(&mut self) -> Result<()> {
        if self.looked.elapsed() < Duration::from_secs(1) {
            return Ok(());
        }
        self.looked = Instant::now();
        if let Some(message) = self.watch.get(FAILED)? {
            return Err(Error::Rank(message));
        }
        let beats = self.watch.count(&beat(0), 0)?;
        if beats != self.beats {
            (self.beats, self.changed) = (beats, Instant::now());
        } else if self.changed.elapsed() > LEADER_SILENT {
            return Err(Error::Rank(
                "rank 0 does not answer (killed, stopped or cut off); resume the run".into(),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::heartbeat::Heartbeat;
    use super::super::store::Store;
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    /// Rank 0 of three at a store of its own.
    pub fn first_of_three() -> (Store, Watch) {
        let store = Store::serve("127.0.0.1", 0, LONG).unwrap();
        let place = Place {
            rank: 0,
            world: 3,
            local_rank: 0,
            address: "127.0.0.1".into(),
            port: store.port(),
            hosted: false,
            attempt: 0,
        };
        let watch = Watch::new(Messages::new(store.another().unwrap(), LONG), &place);
        (store, watch)
    }

    fn broken() -> Error {
        Error::Distributed("broken".into())
    }

    #[test]
    fn a_rank_without_a_beat_is_lost() {
        let (store, watch) = first_of_three();
        let _first = Heartbeat::start(store.another().unwrap(), 1);
        let message = watch.explain(broken()).to_string();
        assert!(message.starts_with("rank 2 does not answer (killed"), "{message}");
        // Whoever asks later is told the same.
        assert_eq!(watch.explain(broken()).to_string(), message);
    }

    #[test]
    fn a_rank_that_lives_but_does_not_come_is_named() {
        let (store, watch) = first_of_three();
        let _beats = [1, 2].map(|rank| Heartbeat::start(store.another().unwrap(), rank));
        store.set(&looking(1), "").unwrap();
        let error = watch.explain(broken());
        assert_eq!(error.exit_code(), 4);
        assert!(error.to_string().starts_with("rank 2 did not come in time, but is alive"), "{error}");
    }

    #[test]
    fn a_rank_that_failed_is_quoted() {
        let (store, watch) = first_of_three();
        let mut other = watch.place.clone();
        other.rank = 2;
        let other = Watch::new(Messages::new(store.another().unwrap(), LONG), &other);
        other.say_goodbye(&Leaving::Failed("no memory".into()));
        assert_eq!(watch.explain(broken()).to_string(), "rank 2 failed: no memory");
    }
}
